#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)] #[serde(deny_unknown_fields, default)] pub struct KafkaConfig { pub group: String, pub topics: Topics }
#[derive(Debug, Clone, PartialEq, Default,serde::Serialize, serde::Deserialize, schemars::JsonSchema)] #[serde(deny_unknown_fields, default)] pub struct Topics { pub documents: String, pub analyses: String, pub dead_letters: String }
impl Topics { pub fn declared(&self)->Vec<(String,i32)>{ vec![(self.documents.clone(),1),(self.analyses.clone(),1),(self.dead_letters.clone(),1)] } }
impl KafkaConfig { pub fn validate(&self,_:&mut super::problem::Problems){} }
