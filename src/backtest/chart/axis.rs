//! Scales: from values to pixels, and the round values that are written beside an axis.

/// A straight scale.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    pixels: (f64, f64),
}

impl Scale {
    /// From values between `from` and `to` to pixels; a scale of one value gets some room.
    pub fn new(from: f64, to: f64, pixels: (f64, f64)) -> Self {
        let room = if to > from { 0.0 } else { from.abs().max(1.0) * 0.05 };
        Self { from: from - room, to: to + room, pixels }
    }

    /// Where a value lies.
    pub fn at(self, value: f64) -> f64 {
        let (start, end) = self.pixels;
        start + (value - self.from) / (self.to - self.from) * (end - start)
    }

    /// About `count` round values.
    pub fn ticks(self, count: f64) -> Vec<f64> {
        let rough = (self.to - self.from) / count;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let mut ticks = Vec::new();
        let mut tick = (self.from / step).ceil() * step;
        // Rounding must not make a scale endless.
        while tick <= self.to + step * 1e-9 && ticks.len() < 100 {
            ticks.push(if tick.abs() < step * 1e-9 { 0.0 } else { tick });
            tick += step;
        }
        ticks
    }
}

/// A number with about four digits.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        _ if size == 0.0 => return "0".to_owned(),
        1e7.. => return format!("{value:.2e}"),
        1000.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        0.001.. => format!("{value:.4}"),
        _ => return format!("{value:.1e}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A fraction in per cent.
pub(super) fn percent(value: f64) -> String {
    format!("{} %", short(value * 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Scale::new(0.0, 10.0, (0.0, 1.0)).ticks(5.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        let ticks = Scale::new(-0.31, 0.07, (0.0, 1.0)).ticks(4.0);
        assert!(ticks.contains(&0.0) && ticks.iter().all(|tick| (-0.31..=0.07).contains(tick)), "{ticks:?}");
        assert!(!Scale::new(5.0, 5.0, (0.0, 1.0)).ticks(4.0).is_empty(), "one value has a scale too");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 12345.0, 12.5, 1.25, 0.0125, 0.000_012, 123_456_789.0].map(short);
        assert_eq!(shown, ["0", "12345", "12.5", "1.25", "0.0125", "1.2e-5", "1.23e8"]);
    }
}
