//! Charts as SVG text: a sweep's surface as a heat map, a backtest's equity with its drawdown. Pure: numbers in, text
//! out, the same for the same numbers.

mod axis;
mod equity;
mod heatmap;

use std::fmt::Write as _;

pub use equity::equity_chart;
pub use heatmap::heatmap;

/// Size of a chart in pixels.
const SIZE: (f64, f64) = (960.0, 600.0);

/// Ink of texts and axes.
const INK: &str = "#333333";

/// Ink of grid lines.
const GRID: &str = "#dddddd";

/// An SVG document under construction.
struct Svg(String);

/// Where a text is anchored.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// An empty sheet with a title.
    fn new(title: &str) -> Self {
        let (width, height) = SIZE;
        let mut svg = Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\" role=\"img\">\n"
        ));
        svg.put(format_args!("<title>{}</title>", escaped(title)));
        svg.put(format_args!("<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>"));
        svg.put(format_args!(
            "<text x=\"70\" y=\"28\" font-size=\"16\" font-weight=\"bold\" fill=\"{INK}\">{}</text>",
            escaped(title)
        ));
        svg
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{element}");
    }

    fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escaped(text);
        self.put(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{INK}\">{text}</text>"));
    }

    fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), ink: &str) {
        self.put(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{ink}\" stroke-width=\"1\"/>"
        ));
    }

    fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }
}

/// A text as XML may hold it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other if other.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
