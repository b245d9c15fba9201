//! Which files have one colour: those of a folder, or those that hang together.

use std::collections::BTreeMap;

use super::labels::short_name;

/// Groups with a colour of their own; what is left is one group more.
const MOST: usize = 12;

/// Files in groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// What the colours mean, over the legend.
    pub caption: String,
    /// The group of each file.
    pub of: Vec<u32>,
    /// Name of each group, and how many files are in it; the largest first.
    pub names: Vec<(String, usize)>,
    /// Whether the last group is what is in no other.
    pub has_other: bool,
}

/// Groups by folder. The folder with the most files is divided into those in it as long as there are colours for them,
/// so that a repository whose files all lie under `src` has more than one.
#[must_use]
pub fn by_folder(paths: &[String]) -> Groups {
    let mut folders: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    folders.insert(String::new(), (0..paths.len()).collect());
    let mut whole: Vec<String> = Vec::new();
    loop {
        let largest = folders
            .iter()
            .filter(|(name, _)| !whole.contains(name))
            .max_by_key(|(name, files)| (files.len(), std::cmp::Reverse((*name).clone())))
            .map(|(name, _)| name.clone());
        let Some(name) = largest else { break };
        let parts = divided(paths, &name, &folders[&name]);
        let room = MOST.saturating_sub(folders.len() - 1);
        // files that lie in the folder itself stay under its name
        let same = parts.len() == 1 && parts.contains_key(&name);
        if same || !is_worth_it(&parts, folders[&name].len(), paths.len(), room) {
            whole.push(name);
            continue;
        }
        if parts.contains_key(&name) {
            whole.push(name.clone());
        }
        folders.remove(&name);
        folders.extend(parts);
    }
    let named = folders.into_iter().map(|(name, files)| (if name.is_empty() { ".".to_owned() } else { name }, files));
    groups("folder", named.filter(|(_, files)| !files.is_empty()).collect(), paths.len())
}

/// Groups by community, each named after the file of it that most others hang on.
#[must_use]
pub fn by_community(paths: &[String], communities: &[u32], degrees: &[u32]) -> Groups {
    let mut members: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for index in 0..paths.len() {
        members.entry(communities.get(index).copied().unwrap_or(u32::MAX)).or_default().push(index);
    }
    let degree = |index: usize| degrees.get(index).copied().unwrap_or(0);
    let named = members.into_values().filter_map(|files| {
        let hub = files.iter().copied().max_by_key(|&index| (degree(index), std::cmp::Reverse(index)))?;
        Some((format!("around {}", short_name(&paths[hub])), files))
    });
    groups("community", named.collect(), paths.len())
}

/// Whether the parts fit, or most of what they hold would, of a folder that else is much of the picture.
fn is_worth_it(parts: &BTreeMap<String, Vec<usize>>, files: usize, all: usize, room: usize) -> bool {
    if parts.len() <= room {
        return true;
    }
    let mut sizes: Vec<usize> = parts.values().map(Vec::len).collect();
    sizes.sort_unstable_by(|left, right| right.cmp(left));
    let shown: usize = sizes.iter().take(room).sum();
    files * 3 > all && shown * 3 > files
}

/// The files of a folder by the folders in it.
fn divided(paths: &[String], folder: &str, files: &[usize]) -> BTreeMap<String, Vec<usize>> {
    let mut parts: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for &index in files {
        let rest = paths[index].get(folder.len()..).unwrap_or_default();
        let part = rest.split_once('/').map_or_else(|| folder.to_owned(), |(part, _)| format!("{folder}{part}/"));
        parts.entry(part).or_default().push(index);
    }
    parts
}

fn groups(caption: &str, mut found: Vec<(String, Vec<usize>)>, files: usize) -> Groups {
    found.sort_by(|left, right| right.1.len().cmp(&left.1.len()).then_with(|| left.0.cmp(&right.0)));
    let has_other = found.len() > MOST;
    let rest = found.split_off(found.len().min(MOST));
    if has_other {
        found.push(("other".to_owned(), rest.into_iter().flat_map(|(_, files)| files).collect()));
    }
    let mut of = vec![0; files];
    for (group, (_, members)) in (0_u32..).zip(&found) {
        members.iter().for_each(|&index| of[index] = group);
    }
    let names = found.into_iter().map(|(name, members)| (name, members.len())).collect();
    Groups { caption: caption.to_owned(), of, names, has_other }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn lone_outer_folder_is_divided() {
        let paths = paths(&["src/web/a.rs", "src/web/b.rs", "src/cli/c.rs", "src/lib.rs", "build.rs"]);
        let groups = by_folder(&paths);
        let names: Vec<&str> = groups.names.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["src/web/", ".", "src/", "src/cli/"]);
        assert_eq!(groups.of, [0, 0, 3, 2, 1]);
        assert!(!groups.has_other);
    }

    #[test]
    fn folders_never_outnumber_the_colours() {
        let names: Vec<String> = (0..100).map(|index| format!("d{:02}/f{index}.py", index % 30)).collect();
        let groups = by_folder(&names);
        assert_eq!((groups.names.len(), groups.has_other), (MOST + 1, true), "{groups:?}");
        let many: Vec<String> = (0..100).map(|index| format!("d{index}/f.py")).collect();
        assert_eq!(by_folder(&many).names, [(".".to_owned(), 100)], "no folder is much of the picture");
        let few: Vec<String> = (0..100).map(|index| format!("d{}/e{}/f{index}.py", index % 3, index % 4)).collect();
        let groups = by_folder(&few);
        assert!(groups.names.len() <= MOST && groups.names.len() > 3, "{groups:?}");
        assert_eq!(groups.names.iter().map(|(_, count)| count).sum::<usize>(), 100);
    }

    #[test]
    fn small_communities_share_what_is_left() {
        let names: Vec<String> = (0..40).map(|index| format!("f{index}.py")).collect();
        let communities: Vec<u32> = (0..40).map(|index| index % 20).collect();
        let groups = by_community(&names, &communities, &(0..40).collect::<Vec<u32>>());
        assert_eq!(groups.names.len(), MOST + 1);
        assert!(groups.has_other);
        assert_eq!(groups.names[MOST], ("other".to_owned(), 16));
        assert_eq!(groups.names[0].0, "around f20.py");
    }
}
