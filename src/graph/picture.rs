//! A graph as an SVG picture: files as dots where they lie in the learned space, imports as thin lines, colours by folder
//! or community, names of the files that most others hang on.

mod folders;
mod labels;

use std::fmt::Write as _;

pub use self::folders::{Groups, by_community, by_folder};
use self::labels::{Placed, place};

const WIDTH: f32 = 1400.0;
const HEIGHT: f32 = 1000.0;
/// Edge of the plot: left, top, right, bottom.
const PLOT: [f32; 4] = [40.0, 90.0, 1090.0, 960.0];
/// Where the legend begins.
const LEGEND_X: f32 = 1120.0;
/// Lines drawn at most; of more, every so manyth is.
const MAX_LINES: usize = 20_000;
/// Share of dots, by each coordinate, that may lie so far out that they are drawn at the edge instead of shrinking all
/// others to the middle.
const OUTLIERS: f32 = 0.005;
/// Radius of a dot without lines.
const DOT: f32 = 2.6;
/// Colours that stay apart for people with any kind of colour vision, as far as so many can.
const COLOURS: [&str; 12] = [
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee7733", "#009988", "#775500", "#332288",
    "#ddaadd", "#99cc55",
];
/// Of what is in no group with a colour.
const OTHER: &str = "#b0b0b0";

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Headline.
    pub title: &'a str,
    /// A line below it.
    pub subtitle: &'a str,
    /// What a dot and a line are, each in the singular, such as `file` and `import`.
    pub words: [&'a str; 2],
    /// Path of each file, `/` between its parts.
    pub paths: &'a [String],
    /// Where each file lies, in any unit.
    pub positions: &'a [[f32; 2]],
    /// Imports: from one file to another.
    pub edges: &'a [(u32, u32)],
    /// Colours and their names.
    pub groups: &'a Groups,
}

impl Picture<'_> {
    /// The picture as an SVG document that needs nothing from elsewhere. Positions that are no numbers lie in the middle.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let spots = self.spots();
        let degrees = self.degrees();
        let mut svg = String::with_capacity(4096 + 160 * spots.len() + 24 * self.edges.len());
        self.head(&mut svg);
        self.lines(&mut svg, &spots);
        self.dots(&mut svg, &spots, &degrees);
        self.names(&mut svg, &spots, &degrees);
        self.legend(&mut svg);
        svg.push_str("</svg>\n");
        svg
    }

    /// Where each file is drawn.
    fn spots(&self) -> Vec<[f32; 2]> {
        let [left, top, right, bottom] = PLOT;
        let (x, y) = (Axis::of(self.positions, 0), Axis::of(self.positions, 1));
        // one scale for both, so that distances can be compared
        let scale = ((right - left) / x.extent()).min((bottom - top) / y.extent());
        let spot = |position: &[f32; 2]| {
            let across = f32::midpoint(left, right) + x.off_middle(position[0]) * scale;
            let down = f32::midpoint(top, bottom) + y.off_middle(position[1]) * scale;
            [across.clamp(left, right), down.clamp(top, bottom)]
        };
        self.positions.iter().map(spot).collect()
    }

    /// Edges at each file, in both directions.
    fn degrees(&self) -> Vec<u32> {
        let mut degrees = vec![0_u32; self.paths.len()];
        for end in self.edges.iter().flat_map(|&(from, to)| [from, to]) {
            if let Some(degree) = degrees.get_mut(end as usize) {
                *degree += 1;
            }
        }
        degrees
    }

    fn head(&self, svg: &mut String) {
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
             <text x=\"40\" y=\"42\" font-size=\"24\" font-weight=\"bold\" fill=\"#222222\">{}</text>\n\
             <text x=\"40\" y=\"68\" font-size=\"14\" fill=\"#555555\">{}</text>\n",
            escape(&shorten(self.title, 80)),
            escape(&shorten(self.subtitle, 150)),
        );
    }

    fn lines(&self, svg: &mut String, spots: &[[f32; 2]]) {
        let step = self.edges.len().div_ceil(MAX_LINES).max(1);
        // the more there are, the fainter each
        let opacity = match self.edges.len() / step {
            0..=300 => 0.45,
            301..=3000 => 0.25,
            _ => 0.12,
        };
        let _ = write!(svg, "<path fill=\"none\" stroke=\"#777777\" stroke-width=\"0.6\" opacity=\"{opacity}\" d=\"");
        for &(from, to) in self.edges.iter().step_by(step) {
            if let (Some([x, y]), Some([to_x, to_y])) = (spots.get(from as usize), spots.get(to as usize)) {
                let _ = write!(svg, "M{x:.1} {y:.1}L{to_x:.1} {to_y:.1}");
            }
        }
        svg.push_str("\"/>\n");
    }

    fn dots(&self, svg: &mut String, spots: &[[f32; 2]], degrees: &[u32]) {
        let mut order: Vec<usize> = (0..spots.len().min(self.paths.len())).collect();
        // large ones first, so that none hides a small one
        order.sort_by_key(|&index| std::cmp::Reverse(degrees[index]));
        let base = if spots.len() > 3000 { 1.6 } else { DOT };
        for index in order {
            let [x, y] = spots[index];
            let radius = radius(degrees[index], base);
            let colour = self.colour(self.groups.of.get(index).copied());
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" fill=\"{colour}\" stroke=\"#ffffff\" \
                 stroke-width=\"0.4\"><title>{}</title></circle>",
                escape(&self.paths[index])
            );
        }
    }

    fn names(&self, svg: &mut String, spots: &[[f32; 2]], degrees: &[u32]) {
        svg.push_str(
            "<g font-size=\"12\" fill=\"#111111\" stroke=\"#ffffff\" stroke-width=\"3\" paint-order=\"stroke\" ",
        );
        svg.push_str("stroke-linejoin=\"round\">\n");
        for Placed { text, x, y } in place(self.paths, spots, degrees, PLOT) {
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", escape(&text));
        }
        svg.push_str("</g>\n");
    }

    fn legend(&self, svg: &mut String) {
        let _ = writeln!(
            svg,
            "<text x=\"{LEGEND_X}\" y=\"104\" font-size=\"14\" font-weight=\"bold\" fill=\"#222222\">{}</text>",
            escape(&self.groups.caption)
        );
        let mut y = 130.0;
        for (index, (name, count)) in self.groups.names.iter().enumerate() {
            let colour = self.colour(u32::try_from(index).ok());
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"6\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 font-size=\"13\" fill=\"#222222\">{} <tspan fill=\"#777777\">{count}</tspan></text>",
                LEGEND_X + 6.0,
                y - 4.0,
                LEGEND_X + 20.0,
                y,
                escape(&shorten_left(name, 30)),
            );
            y += 24.0;
        }
        let [dot, line] = self.words;
        for text in [
            format!("a dot is one {dot}, the larger"),
            format!("the more {line}s it has;"),
            format!("a line is one {line}"),
        ] {
            y += 18.0;
            let _ =
                writeln!(svg, "<text x=\"{LEGEND_X}\" y=\"{y:.1}\" font-size=\"12\" fill=\"#777777\">{text}</text>");
        }
    }

    fn colour(&self, group: Option<u32>) -> &'static str {
        let coloured = self.groups.names.len() - usize::from(self.groups.has_other);
        group.map(|group| group as usize).filter(|&group| group < coloured).map_or(OTHER, |group| COLOURS[group % 12])
    }
}

/// The part of an axis that is drawn.
struct Axis {
    low: f32,
    high: f32,
}

impl Axis {
    fn of(positions: &[[f32; 2]], coordinate: usize) -> Self {
        let mut values: Vec<f32> =
            positions.iter().map(|position| position[coordinate]).filter(|value| value.is_finite()).collect();
        values.sort_by(f32::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share"
        )]
        let beyond = (values.len() as f32 * OUTLIERS) as usize;
        match (values.get(beyond), values.len().checked_sub(1 + beyond).and_then(|index| values.get(index))) {
            (Some(&low), Some(&high)) => Self { low, high },
            _ => Self { low: 0.0, high: 0.0 },
        }
    }

    fn extent(&self) -> f32 {
        (self.high - self.low).max(f32::EPSILON)
    }

    fn off_middle(&self, value: f32) -> f32 {
        if value.is_finite() { value - f32::midpoint(self.low, self.high) } else { 0.0 }
    }
}

fn radius(degree: u32, base: f32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a size")]
    let degree = degree as f32;
    (base + 0.9 * degree.sqrt()).min(16.0)
}

/// Text as it may stand in SVG; characters that XML can't hold are left out.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => {}
            other if other.is_control() => {}
            other => escaped.push(other),
        }
    }
    escaped
}

/// The first characters, with a mark where some are left out.
fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// The last characters, with a mark where some are left out: of a path, its end says most.
fn shorten_left(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    ['…'].into_iter().chain(text.chars().skip(count + 1 - most)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(paths: &[&str], positions: &[[f32; 2]], edges: &[(u32, u32)], title: &str) -> String {
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        let groups = by_folder(&paths);
        Picture { title, subtitle: "", words: ["file", "import"], paths: &paths, positions, edges, groups: &groups }
            .to_svg()
    }

    #[test]
    fn hostile_names_stay_text() {
        let svg = draw(&["a/<script>\u{0}&\"", "b/]]>"], &[[0.0, 0.0], [1.0, 1.0]], &[(0, 1)], "<x>");
        assert!(!svg.contains("<script>") && !svg.contains('\u{0}') && !svg.contains("<x>"));
        assert!(svg.contains("&lt;script&gt;&amp;&quot;"));
    }

    #[test]
    fn every_file_is_drawn_inside_the_plot_whatever_its_position() {
        let positions = [[0.0, 0.0], [1e30, -1e30], [f32::NAN, f32::INFINITY], [1.0, 2.0]];
        let svg = draw(&["a", "b", "c", "d"], &positions, &[(0, 1), (7, 9)], "t");
        let [left, top, right, bottom] = PLOT;
        let number = |text: &str, key: &str| -> f32 {
            text.split(key)
                .nth(1)
                .and_then(|rest| rest.split('"').next())
                .and_then(|it| it.parse().ok())
                .unwrap_or(-1.0)
        };
        let dots: Vec<&str> = svg.lines().filter(|line| line.contains("<title>")).collect();
        assert_eq!(dots.len(), 4);
        for dot in dots {
            assert!((left..=right).contains(&number(dot, "cx=\"")), "{dot}");
            assert!((top..=bottom).contains(&number(dot, "cy=\"")), "{dot}");
        }
    }

    #[test]
    fn nothing_at_all_is_an_empty_picture() {
        let svg = draw(&[], &[], &[], "empty");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }

    #[test]
    fn many_imports_are_thinned() {
        let edges: Vec<(u32, u32)> = (0..50_000).map(|index| (index % 2, 1 - index % 2)).collect();
        let svg = draw(&["a", "b"], &[[0.0, 0.0], [1.0, 0.0]], &edges, "t");
        assert!(svg.matches('M').count() <= MAX_LINES + 1);
    }
}
