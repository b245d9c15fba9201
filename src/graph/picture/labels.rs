//! Names beside dots: of the files with the most imports, as many as fit without covering each other.

/// Names at most.
const MOST: usize = 40;
/// Files tried at most: where many lie close together, most find no room.
const TRIED: usize = 200;
/// Size of the letters.
const SIZE: f32 = 12.0;
/// Width of a letter as a share of its size, on average.
const LETTER: f32 = 0.56;

/// A name with its place: where its base line begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placed {
    pub(super) text: String,
    pub(super) x: f32,
    pub(super) y: f32,
}

/// Left, top, right, bottom.
type Box4 = [f32; 4];

/// Places names, of the files with the most edges first.
pub(super) fn place(paths: &[String], spots: &[[f32; 2]], degrees: &[u32], plot: Box4) -> Vec<Placed> {
    let mut order: Vec<usize> = (0..paths.len().min(spots.len())).filter(|&index| degrees[index] > 0).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(degrees[index]), index));
    let mut taken: Vec<Box4> = Vec::new();
    let mut placed = Vec::new();
    for index in order.into_iter().take(TRIED) {
        if placed.len() == MOST {
            break;
        }
        let text = short_name(&paths[index]);
        #[expect(clippy::cast_precision_loss, reason = "a name has few letters")]
        let width = text.chars().count() as f32 * SIZE * LETTER;
        let [x, y] = spots[index];
        let beside = super::radius(degrees[index], super::DOT) + 3.0;
        let sides = [
            (x + beside, y + 4.0),
            (x - beside - width, y + 4.0),
            (x - width / 2.0, y - beside),
            (x - width / 2.0, y + beside + 9.0),
        ];
        let free = sides.into_iter().find_map(|(x, y)| {
            let area = [x - 2.0, y - SIZE, x + width + 2.0, y + 3.0];
            let inside =
                area[0] >= plot[0] && area[1] >= plot[1] && area[2] <= plot[2] + 20.0 && area[3] <= plot[3] + 20.0;
            (inside && !taken.iter().any(|other| overlap(&area, other))).then_some((x, y, area))
        });
        if let Some((x, y, area)) = free {
            taken.push(area);
            placed.push(Placed { text, x, y });
        }
    }
    placed
}

fn overlap(one: &Box4, other: &Box4) -> bool {
    one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3]
}

/// Names that say nothing without the folder they lie in.
const COMMON: [&str; 5] = ["__init__", "mod", "index", "main", "lib"];

/// A file's name, with its folder's before it where many files are called so.
pub(super) fn short_name(path: &str) -> String {
    let (rest, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.split('.').next().unwrap_or(name);
    let folder = rest.rsplit('/').next().unwrap_or_default();
    let whole = if COMMON.contains(&stem) && !folder.is_empty() { format!("{folder}/{name}") } else { name.to_owned() };
    super::shorten_left(&whole, 36)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_cover_each_other() {
        let paths: Vec<String> = (0..300).map(|index| format!("some/folder/file_{index}.py")).collect();
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let spots: Vec<[f32; 2]> =
            (0..300).map(|index| [100.0 + (index % 20) as f32 * 30.0, 100.0 + (index / 20) as f32 * 9.0]).collect();
        let placed = place(&paths, &spots, &vec![3; 300], [0.0, 0.0, 1000.0, 1000.0]);
        assert!(placed.len() > 10 && placed.len() <= MOST, "{}", placed.len());
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let area = |name: &Placed| {
            [name.x, name.y - SIZE, name.x + name.text.chars().count() as f32 * SIZE * LETTER, name.y + 3.0]
        };
        for (index, one) in placed.iter().enumerate() {
            assert!(placed[..index].iter().all(|other| !overlap(&area(one), &area(other))), "{one:?}");
        }
    }

    #[test]
    fn names_that_many_files_have_are_told_with_their_folder() {
        assert_eq!(short_name("src/web/mod.rs"), "web/mod.rs");
        assert_eq!(short_name("pkg/__init__.py"), "pkg/__init__.py");
        assert_eq!(short_name("index.ts"), "index.ts");
        assert_eq!(short_name("src/web/state.rs"), "state.rs");
    }
}
