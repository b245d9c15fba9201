//! A metric over two parameters as a heat map.

use super::super::sweep::Surface;
use super::axis::{Scale, short};
use super::{Anchor, INK, SIZE, Svg};

/// Left, top, right and bottom edge of the map.
const FRAME: (f64, f64, f64, f64) = (70.0, 50.0, 830.0, 545.0);

/// Most cells along a side; more are drawn together, each as the mean of its cells.
const MOST: usize = 160;

/// Colours from the lowest to the highest value, as red, green and blue: dark violet over teal to yellow, of evenly
/// rising lightness, so that it reads in grey and with colour blindness.
const RAMP: [[f64; 3]; 5] =
    [[68.0, 1.0, 84.0], [59.0, 82.0, 139.0], [33.0, 145.0, 140.0], [94.0, 201.0, 98.0], [253.0, 231.0, 37.0]];

/// The surface as a heat map: a colour per cell, cells without a value left white, the highest framed and named.
pub fn heatmap(surface: &Surface) -> String {
    let (columns, rows) = (surface.x_values.len(), surface.y_values.len());
    let mut svg = Svg::new(&format!("{} over {} and {}", surface.metric, surface.x, surface.y));
    let known = || surface.cells.iter().flatten().copied().filter(|value| value.is_finite());
    let (low, high) =
        known().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    let (left, top, right, bottom) = FRAME;
    if low > high {
        svg.text((f64::midpoint(left, right), f64::midpoint(top, bottom)), Anchor::Middle, "no set has a value");
        return svg.finish();
    }
    let (group_x, group_y) = (columns.div_ceil(MOST).max(1), rows.div_ceil(MOST).max(1));
    let (wide, tall) = (columns.div_ceil(group_x), rows.div_ceil(group_y));
    let (width, height) = ((right - left) / count(wide), (bottom - top) / count(tall));
    for row in 0..tall {
        for column in 0..wide {
            let Some(value) = mean(surface, (column * group_x, group_x), (row * group_y, group_y)) else { continue };
            let (x, y) = (left + width * count(column), bottom - height * count(row + 1));
            let colour = colour(low, high, value);
            // A little over the edge, so that no seams show between cells.
            svg.put(format_args!(
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"{colour}\"/>",
                width + 0.3,
                height + 0.3
            ));
        }
    }
    axes(&mut svg, surface);
    legend(&mut svg, low, high);
    best(&mut svg, surface, high);
    svg.finish()
}

/// Mean of a group of cells.
fn mean(surface: &Surface, (x, wide): (usize, usize), (y, tall): (usize, usize)) -> Option<f64> {
    let columns = surface.x_values.len();
    let cells = (y..(y + tall).min(surface.y_values.len()))
        .flat_map(|row| (x..(x + wide).min(columns)).map(move |column| row * columns + column));
    let values = cells.filter_map(|cell| surface.cells.get(cell).copied().flatten()).filter(|value| value.is_finite());
    let (sum, known) = values.fold((0.0, 0_usize), |(sum, known), value| (sum + value, known + 1));
    (known > 0).then(|| sum / count(known))
}

/// The colour of a value as `#rrggbb`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and the ramp's length, and 0 and 255"
)]
fn colour(low: f64, high: f64, value: f64) -> String {
    let place = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 };
    let along = place * count(RAMP.len() - 1);
    let step = (along as usize).min(RAMP.len() - 2);
    let mixed: [u8; 3] = std::array::from_fn(|part| {
        let (from, to) = (RAMP[step][part], RAMP[step + 1][part]);
        (from + (to - from) * (along - count(step))).round() as u8
    });
    format!("#{:02x}{:02x}{:02x}", mixed[0], mixed[1], mixed[2])
}

fn axes(svg: &mut Svg, surface: &Surface) {
    let (left, top, right, bottom) = FRAME;
    let (x_values, y_values) = (&surface.x_values, &surface.y_values);
    let width = (right - left) / count(x_values.len());
    for index in (0..x_values.len()).step_by(x_values.len().div_ceil(12)) {
        let x = left + width * (count(index) + 0.5);
        svg.line((x, bottom), (x, bottom + 5.0), INK);
        svg.text((x, bottom + 18.0), Anchor::Middle, &short(x_values[index]));
    }
    let height = (bottom - top) / count(y_values.len());
    for index in (0..y_values.len()).step_by(y_values.len().div_ceil(12)) {
        let y = bottom - height * (count(index) + 0.5);
        svg.line((left - 5.0, y), (left, y), INK);
        svg.text((left - 8.0, y + 4.0), Anchor::End, &short(y_values[index]));
    }
    svg.text((f64::midpoint(left, right), bottom + 38.0), Anchor::Middle, &surface.x);
    let middle = f64::midpoint(top, bottom);
    let name = super::escaped(&surface.y);
    svg.put(format_args!(
        "<text transform=\"translate(20 {middle:.1}) rotate(-90)\" text-anchor=\"middle\" fill=\"{INK}\">{name}</text>"
    ));
}

fn legend(svg: &mut Svg, low: f64, high: f64) {
    let (_, top, _, bottom) = FRAME;
    let (x, steps) = (855.0, 64);
    let height = (bottom - top) / count(steps);
    for step in 0..steps {
        let value = low + (high - low) * (count(step) + 0.5) / count(steps);
        let (y, colour) = (bottom - height * count(step + 1), colour(low, high, value));
        svg.put(format_args!(
            "<rect x=\"{x}\" y=\"{y:.2}\" width=\"18\" height=\"{:.2}\" fill=\"{colour}\"/>",
            height + 0.3
        ));
    }
    let scale = Scale::new(low, high, (bottom, top));
    for tick in scale.ticks(6.0) {
        let y = scale.at(tick);
        svg.line((x + 18.0, y), (x + 23.0, y), INK);
        svg.text((x + 27.0, y + 4.0), Anchor::Start, &short(tick));
    }
}

/// Frames the cell of the highest value and names it.
fn best(svg: &mut Svg, surface: &Surface, high: f64) {
    let columns = surface.x_values.len();
    let Some(cell) = surface.cells.iter().position(|cell| cell.is_some_and(|value| value >= high)) else { return };
    let (left, top, right, bottom) = FRAME;
    let (column, row) = (cell % columns, cell / columns);
    let (width, height) = ((right - left) / count(columns), (bottom - top) / count(surface.y_values.len()));
    let (x, y) = (left + width * count(column), bottom - height * count(row + 1));
    svg.put(format_args!(
        "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{:.2}\" fill=\"none\" stroke=\"#d00000\" \
         stroke-width=\"2\"/>",
        width.max(6.0),
        height.max(6.0)
    ));
    let text = format!(
        "highest {}: {} {}, {} {}",
        short(high),
        surface.x,
        short(surface.x_values[column]),
        surface.y,
        short(surface.y_values[row])
    );
    svg.text((SIZE.0 - 20.0, 28.0), Anchor::End, &text);
}

#[expect(clippy::cast_precision_loss, reason = "counts of cells")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(cells: Vec<Option<f64>>) -> Surface {
        Surface {
            x: "fast <1>".to_owned(),
            y: "slow".to_owned(),
            metric: "sharpe_ratio".to_owned(),
            x_values: vec![2.0, 3.0],
            y_values: vec![5.0, 6.0, 7.0],
            cells,
        }
    }

    #[test]
    fn cells_without_a_value_stay_white_and_the_highest_is_named() {
        let svg = heatmap(&surface(vec![Some(1.0), None, Some(-2.0), Some(3.5), None, Some(0.0)]));
        assert_eq!(svg.matches("height=\"165.30\"").count(), 4);
        assert!(svg.contains("highest 3.5: fast &lt;1&gt; 3, slow 6"), "{svg}");
        assert!(svg.contains("#fde725") && svg.contains("#440154"), "both ends of the ramp");
    }

    #[test]
    fn a_surface_without_values_says_so() {
        assert!(heatmap(&surface(vec![None; 6])).contains("no set has a value"));
    }

    #[test]
    fn large_surfaces_are_drawn_together() {
        let cells = (0..1000 * 1000).map(|cell| Some(f64::from(cell % 997))).collect();
        let values: Vec<f64> = (0..1000).map(f64::from).collect();
        let surface = Surface { x_values: values.clone(), y_values: values, ..surface(cells) };
        let svg = heatmap(&surface);
        assert!(svg.matches("<rect").count() <= MOST * MOST + 100, "{}", svg.matches("<rect").count());
    }
}
