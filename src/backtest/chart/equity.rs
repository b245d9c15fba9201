//! Equity with its drawdown below.

use super::super::result::Equity;
use super::axis::{Scale, percent, short};
use super::{Anchor, GRID, INK, SIZE, Svg};

/// Left and right edge of both panels.
const SIDES: (f64, f64) = (70.0, 940.0);

/// Top and bottom of the equity's panel.
const UPPER: (f64, f64) = (50.0, 390.0);

/// Top and bottom of the drawdown's panel.
const LOWER: (f64, f64) = (425.0, 560.0);

/// Columns of pixels that a line is drawn through.
const COLUMNS: usize = 870;

/// Value of every bar as a line, the fall from the highest value so far as an area below it. Of bars that share a
/// column of pixels the lowest and the highest value are drawn, so that no spike is lost.
pub fn equity_chart(equity: &Equity, title: &str) -> String {
    let mut svg = Svg::new(title);
    let bars = equity.value.len();
    let (low, high) = range(&equity.value);
    if low > high {
        let middle = (f64::midpoint(SIDES.0, SIDES.1), f64::midpoint(UPPER.0, UPPER.1));
        svg.text(middle, Anchor::Middle, "there are no bars");
        return svg.finish();
    }
    let along = Scale::new(0.0, count(bars.saturating_sub(1)), SIDES);
    let up = Scale::new(low, high, (UPPER.1, UPPER.0));
    for tick in up.ticks(6.0) {
        svg.line((SIDES.0, up.at(tick)), (SIDES.1, up.at(tick)), GRID);
        svg.text((SIDES.0 - 8.0, up.at(tick) + 4.0), Anchor::End, &short(tick));
    }
    let points = points(&equity.value, along, up);
    svg.put(format_args!("<polyline fill=\"none\" stroke=\"#1f5fa8\" stroke-width=\"1.5\" points=\"{points}\"/>"));
    drawdown(&mut svg, equity, along);
    times(&mut svg, equity, along);
    let (first, last) =
        (equity.value.first().copied().unwrap_or(f64::NAN), equity.value.last().copied().unwrap_or(f64::NAN));
    let text = format!("from {} to {}, {}", short(first), short(last), percent(last / first - 1.0));
    svg.text((SIZE.0 - 20.0, 28.0), Anchor::End, &text);
    svg.finish()
}

fn drawdown(svg: &mut Svg, equity: &Equity, along: Scale) {
    let (low, _) = range(&equity.drawdown);
    let down = Scale::new(low.min(-1e-6), 0.0, (LOWER.1, LOWER.0));
    for tick in down.ticks(3.0) {
        svg.line((SIDES.0, down.at(tick)), (SIDES.1, down.at(tick)), GRID);
        svg.text((SIDES.0 - 8.0, down.at(tick) + 4.0), Anchor::End, &percent(tick));
    }
    let points = points(&equity.drawdown, along, down);
    let (start, end) = (along.at(0.0), along.at(count(equity.drawdown.len().saturating_sub(1))));
    let zero = down.at(0.0);
    svg.put(format_args!(
        "<polygon fill=\"#c0392b\" fill-opacity=\"0.35\" stroke=\"#c0392b\" stroke-width=\"1\" \
         points=\"{start:.1},{zero:.1} {points} {end:.1},{zero:.1}\"/>"
    ));
    svg.text((SIDES.0, LOWER.0 - 8.0), Anchor::Start, &format!("drawdown, {} at most", percent(low.min(0.0))));
}

/// What stands below: dates where they are known, else numbers of bars.
fn times(svg: &mut Svg, equity: &Equity, along: Scale) {
    let bars = equity.value.len();
    for part in 0..=6_usize {
        let bar = bars.saturating_sub(1) * part / 6;
        let label = match equity.ts.as_ref().and_then(|times| times.get(bar)) {
            Some(time) => time.format("%Y-%m-%d").to_string(),
            None => bar.to_string(),
        };
        let x = along.at(count(bar));
        svg.line((x, LOWER.1), (x, LOWER.1 + 5.0), INK);
        let anchor = match part {
            0 => Anchor::Start,
            6 => Anchor::End,
            _ => Anchor::Middle,
        };
        svg.text((x, LOWER.1 + 20.0), anchor, &label);
    }
}

/// The points of a line: every bar, or the extremes of each column of pixels in the order they come.
fn points(values: &[f64], along: Scale, up: Scale) -> String {
    let group = values.len().div_ceil(COLUMNS).max(1);
    let mut points = Vec::new();
    for (index, part) in values.chunks(group).enumerate() {
        let mut extremes = [None::<(usize, f64)>; 2];
        for (bar, &value) in part.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            let [low, high] = &mut extremes;
            if low.is_none_or(|(_, known)| value < known) {
                *low = Some((bar, value));
            }
            if high.is_none_or(|(_, known)| value > known) {
                *high = Some((bar, value));
            }
        }
        let mut pair: Vec<(usize, f64)> = extremes.into_iter().flatten().collect();
        pair.sort_by_key(|(bar, _)| *bar);
        pair.dedup();
        for (bar, value) in pair {
            points.push(format!("{:.1},{:.1}", along.at(count(index * group + bar)), up.at(value)));
        }
    }
    points.join(" ")
}

/// Lowest and highest finite value; the former is above the latter where there is none.
fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of bars")]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_among_a_million_bars_is_drawn() {
        let mut values = vec![100.0; 1_000_000];
        values[777_777] = 200.0;
        let equity = Equity::new(None, values);
        let svg = equity_chart(&equity, "spike");
        assert!(svg.contains(",50.0"), "the highest value touches the panel's top");
        assert!(svg.contains("drawdown, -50 % at most"));
        assert!(svg.len() < 120_000, "{} bytes", svg.len());
    }

    #[test]
    fn no_bars_and_one_bar_are_charts_too() {
        assert!(equity_chart(&Equity::default(), "none").contains("there are no bars"));
        let one = equity_chart(&Equity::new(None, vec![100.0]), "one");
        assert!(one.contains("polyline") && !one.contains("NaN"), "{one}");
    }
}
