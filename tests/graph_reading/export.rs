//! What other programs get.

use tidemill::graph::export::{edge_list, graphml};

use crate::fixture::graph_of;

#[test]
fn graphml_has_every_node_and_edge_and_escapes_names() {
    let graph = graph_of(&[("a&b/<x>.py", "import c\nimport numpy\n"), ("c.py", "import c\n")]);
    let mut bytes = Vec::new();
    graphml(&graph, &mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches("<node ").count(), graph.nodes());
    assert_eq!(text.matches("<edge ").count(), graph.edges.len());
    assert!(text.contains("<data key=\"path\">a&amp;b/&lt;x&gt;.py</data>"));
    assert!(text.contains("<data key=\"path\">numpy</data><data key=\"kind\">external</data>"));
    assert!(text.contains(r#"<edge source="n0" target="n1"><data key="weight">1</data></edge>"#));
}

#[test]
fn edge_list_is_one_edge_a_line() {
    let graph = graph_of(&[("a.py", "import b\nfrom b import x\nimport os\n"), ("b.py", "")]);
    let mut bytes = Vec::new();
    edge_list(&graph, &mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), "a.py\tb.py\t2\na.py\tos\t1\n");
}
