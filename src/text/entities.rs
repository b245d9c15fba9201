//! Entities: cashtags, tickers, companies, money, percentages and dates, by one scan from left to right.
//!
//! Every rule looks ahead a bounded number of characters, so that the time is linear in the text whatever it holds. At
//! each place the first rule that fits wins and the scan goes on behind it: entities never overlap.

mod dates;

use super::companies::COMPANIES;
use crate::messages::analysis::Entity;
use crate::messages::document::Document;

/// Most entities of one text.
const MAX_ENTITIES: usize = 512;
/// Longest number, in characters.
const MAX_NUMBER: usize = 40;
/// Longest word that is looked at as a word of a name.
const MAX_WORD: usize = 40;

const CURRENCY_SIGNS: &str = "$€£¥₹₩₿";
const CURRENCY_CODES: &[&str] = &[
    "USD", "EUR", "GBP", "JPY", "INR", "CHF", "CAD", "AUD", "CNY", "HKD", "SEK", "NOK", "DKK", "BRL", "MXN", "KRW",
    "SGD", "NZD", "ZAR", "Rs", "Rs.",
];
const CURRENCY_WORDS: &[&str] = &[
    "dollar", "dollars", "euro", "euros", "pound", "pounds", "yen", "rupee", "rupees", "yuan", "franc", "francs",
    "usd", "eur", "gbp", "jpy", "inr", "chf", "cents",
];
const MAGNITUDES: &[&str] = &[
    "k",
    "m",
    "mn",
    "mln",
    "mio",
    "million",
    "millions",
    "b",
    "bn",
    "bln",
    "billion",
    "billions",
    "t",
    "tn",
    "trn",
    "trillion",
    "trillions",
    "thousand",
    "crore",
    "crores",
    "cr",
    "lakh",
    "lakhs",
];
const EXCHANGES: &[&str] = &[
    "NASDAQ", "Nasdaq", "NYSE", "AMEX", "NYSEARCA", "OTC", "LSE", "TSX", "NSE", "BSE", "ASX", "HKEX", "XETRA", "ETR",
    "EPA", "TYO", "SIX",
];
/// Known symbols that are words as well: as tickers they need a cashtag or an exchange.
const AMBIGUOUS: &[&str] = &[
    "ALL", "ARM", "CAT", "COIN", "COST", "HAL", "HOOD", "JD", "LOW", "MAR", "META", "NET", "NOK", "PARA", "PINS",
    "RELIANCE", "SHOP", "SNAP", "SNOW", "SOL", "SPOT", "UPS",
];

/// Entities of the document's cleaned text, in order; offsets count Unicode scalar values.
#[must_use]
pub fn entities(text: &str) -> Vec<Entity> {
    let scan = Scan::new(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < scan.chars.len() && found.len() < MAX_ENTITIES {
        match scan.entity(at) {
            Some(hit) => {
                found.push(Entity {
                    text: scan.chars[at..hit.end].iter().collect(),
                    kind: hit.kind.into(),
                    start: at,
                    end: hit.end,
                    symbol: hit.symbol,
                });
                at = hit.end;
            }
            None => at = scan.next(at),
        }
    }
    found
}

/// The sender's symbols and those found, without repeats, the sender's first.
#[must_use]
pub fn symbols(document: &Document, entities: &[Entity]) -> Vec<String> {
    let mut symbols = document.symbols.clone();
    for symbol in entities.iter().filter_map(|entity| entity.symbol.as_ref()) {
        if !symbols.contains(symbol) {
            symbols.push(symbol.clone());
        }
    }
    symbols
}

/// What a rule found.
struct Hit {
    end: usize,
    kind: &'static str,
    symbol: Option<String>,
}

impl Hit {
    fn plain(end: usize, kind: &'static str) -> Self {
        Self { end, kind, symbol: None }
    }
}

/// The text as characters.
struct Scan {
    chars: Vec<char>,
    /// Mostly capitals: then capitals say nothing.
    shouted: bool,
}

impl Scan {
    fn new(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let upper = chars.iter().filter(|character| character.is_uppercase()).count();
        let lower = chars.iter().filter(|character| character.is_lowercase()).count();
        Self { chars, shouted: upper > 3 * lower }
    }

    /// The character at a place; a space beyond the ends.
    fn at(&self, place: usize) -> char {
        self.chars.get(place).copied().unwrap_or(' ')
    }

    /// Whether a word could begin here.
    fn starts_word(&self, place: usize) -> bool {
        place == 0 || !self.at(place - 1).is_alphanumeric()
    }

    /// Where to look next when nothing was found: behind the word.
    fn next(&self, place: usize) -> usize {
        if !self.at(place).is_alphanumeric() {
            return place + 1;
        }
        let rest = self.chars[place..].iter();
        place + rest.take_while(|character| character.is_alphanumeric()).count()
    }

    fn entity(&self, at: usize) -> Option<Hit> {
        if !self.starts_word(at) {
            return None;
        }
        let first = self.at(at);
        if first.is_whitespace() {
            return None;
        }
        if CURRENCY_SIGNS.contains(first) {
            return self.cashtag(at).or_else(|| self.money_after_sign(at, at));
        }
        if first.is_ascii_digit() || (matches!(first, '+' | '-' | '−') && self.at(at + 1).is_ascii_digit()) {
            return self.number_entity(at);
        }
        if !first.is_alphabetic() {
            return None;
        }
        self.money_after_code(at)
            .or_else(|| self.listed_ticker(at))
            .or_else(|| self.month_date(at))
            .or_else(|| self.period(at))
            .or_else(|| self.company(at))
            .or_else(|| self.ticker(at))
    }

    /// `$AAPL`, `$brk.b`: one to six letters, maybe a class behind a point.
    fn cashtag(&self, at: usize) -> Option<Hit> {
        if self.at(at) != '$' || (at > 0 && self.at(at - 1) == '$') {
            return None;
        }
        let letters = |from: usize| (from..from + 8).take_while(|&place| self.at(place).is_ascii_alphabetic()).count();
        let length = letters(at + 1);
        if !(1..=6).contains(&length) || self.at(at + 1 + length).is_alphanumeric() {
            return None;
        }
        let mut end = at + 1 + length;
        let class = letters(end + 1);
        if self.at(end) == '.' && class == 1 && !self.at(end + 2).is_alphanumeric() {
            end += 2;
        }
        let symbol: String = self.chars[at + 1..end].iter().map(char::to_ascii_uppercase).collect();
        Some(Hit { end, kind: "cashtag", symbol: Some(symbol) })
    }

    /// `$5`, `€ 2.5 billion`; the entity starts at `start`, the sign stands at `sign`.
    fn money_after_sign(&self, start: usize, sign: usize) -> Option<Hit> {
        let from = if self.at(sign + 1) == ' ' { sign + 2 } else { sign + 1 };
        let end = self.number(from).or_else(|| self.number(sign + 1))?;
        debug_assert!(end > start);
        Some(Hit::plain(self.magnitude(end), "money"))
    }

    /// `USD 5bn`, `US$5`, `Rs 500 crore`.
    fn money_after_code(&self, at: usize) -> Option<Hit> {
        let word: String =
            self.chars[at..].iter().take(4).take_while(|character| character.is_ascii_alphabetic()).collect();
        let mut next = at + word.len();
        if self.at(next) == '$' && matches!(word.as_str(), "US" | "A" | "C" | "HK" | "S" | "NZ") {
            return self.money_after_sign(at, next);
        }
        if !CURRENCY_CODES.contains(&word.as_str()) {
            return None;
        }
        next += usize::from(self.at(next) == '.');
        next += usize::from(self.at(next) == ' ');
        Some(Hit::plain(self.magnitude(self.number(next)?), "money"))
    }

    /// A number: percentage, money by a word behind it, or a date.
    fn number_entity(&self, at: usize) -> Option<Hit> {
        let digits = if self.at(at).is_ascii_digit() { at } else { at + 1 };
        let end = self.number(digits)?;
        if self.at(end) == '%' {
            return Some(Hit::plain(end + 1, "percent"));
        }
        if self.at(end) == ' ' {
            let (word, behind) = self.word(end + 1);
            let second = || self.word(behind + 1);
            match word.as_str() {
                "%" | "percent" | "pct" | "bps" => return Some(Hit::plain(behind, "percent")),
                "per" if second().0 == "cent" => return Some(Hit::plain(second().1, "percent")),
                "percentage" | "basis" if second().0.starts_with("point") => {
                    return Some(Hit::plain(second().1, "percent"));
                }
                _ => {}
            }
        }
        if let Some(date) = self.numeric_date(at).or_else(|| self.day_month_date(at)) {
            return Some(date);
        }
        let behind = self.magnitude(end);
        if CURRENCY_SIGNS.contains(self.at(behind)) && !self.at(behind + 1).is_alphanumeric() {
            return Some(Hit::plain(behind + 1, "money"));
        }
        if self.at(behind) == ' '
            && (CURRENCY_SIGNS.contains(self.at(behind + 1)) && !self.at(behind + 2).is_alphanumeric())
        {
            return Some(Hit::plain(behind + 2, "money"));
        }
        let (word, after) = self.word(behind + 1);
        (self.at(behind) == ' ' && CURRENCY_WORDS.contains(&word.as_str())).then(|| Hit::plain(after, "money"))
    }

    /// End of the number that starts here: digits with separators between digits.
    fn number(&self, at: usize) -> Option<usize> {
        if !self.at(at).is_ascii_digit() {
            return None;
        }
        let mut end = at + 1;
        while end - at < MAX_NUMBER {
            let here = self.at(end);
            if here.is_ascii_digit() {
                end += 1;
            } else if matches!(here, '.' | ',') && self.at(end + 1).is_ascii_digit() {
                end += 2;
            } else {
                break;
            }
        }
        Some(end)
    }

    /// End of a magnitude behind a number, or of the number.
    fn magnitude(&self, end: usize) -> usize {
        let from = if self.at(end) == ' ' { end + 1 } else { end };
        let (word, behind) = self.word(from);
        if MAGNITUDES.contains(&word.as_str()) && (from == end || word.len() > 1) { behind } else { end }
    }

    /// The word that starts here, lower-cased, and where it ends.
    fn word(&self, at: usize) -> (String, usize) {
        if self.at(at) == '%' {
            return ("%".to_owned(), at + 1);
        }
        let letters = (at..at + MAX_WORD).take_while(|&place| self.at(place).is_alphanumeric()).count();
        let word = (at..at + letters).flat_map(|place| self.at(place).to_lowercase()).collect();
        (word, at + letters)
    }

    /// `NASDAQ: AAPL`, `NYSE:BRK.B`.
    fn listed_ticker(&self, at: usize) -> Option<Hit> {
        let exchange: String =
            self.chars[at..].iter().take(9).take_while(|character| character.is_ascii_alphabetic()).collect();
        let mut from = at + exchange.len();
        if self.at(from) != ':' || !EXCHANGES.contains(&exchange.as_str()) {
            return None;
        }
        from += 1;
        from += usize::from(self.at(from) == ' ');
        let part = |place: &usize| {
            let here = self.at(*place);
            here.is_ascii_uppercase()
                || here.is_ascii_digit()
                || (here == '.' && self.at(place + 1).is_ascii_uppercase())
        };
        let length = (from..from + 12).take_while(part).count();
        let symbol: String = self.chars.get(from..from + length)?.iter().collect();
        let valid = (1..=11).contains(&length) && !self.at(from + length).is_alphanumeric();
        valid.then(|| Hit { end: from + length, kind: "ticker", symbol: Some(symbol) })
    }

    /// A name of the built-in list, longest first. The first letter must be a capital.
    fn company(&self, at: usize) -> Option<Hit> {
        if !self.at(at).is_uppercase() && !self.at(at).is_ascii_digit() {
            return None;
        }
        let (first, _) = self.name_word(at);
        let bare = first.strip_suffix("'s").unwrap_or(&first);
        [first.as_str(), bare].iter().find_map(|key| {
            let names = COMPANIES.by_first_word.get(*key)?;
            names.iter().find_map(|name| {
                let end = self.matches_name(at, &name.words)?;
                Some(Hit { end, kind: "company", symbol: Some(name.symbol.to_owned()) })
            })
        })
    }

    /// Where a name that starts here ends; a possessive `'s` stays outside.
    fn matches_name(&self, at: usize, words: &[String]) -> Option<usize> {
        let mut from = at;
        for (index, word) in words.iter().enumerate() {
            let (found, end) = self.name_word(from);
            let last = index + 1 == words.len();
            if found == *word {
                from = end + usize::from(!last);
            } else if last && found.strip_suffix("'s") == Some(word) {
                from = end - 2;
            } else {
                return None;
            }
            if !last && self.at(end) != ' ' {
                return None;
            }
        }
        Some(from)
    }

    /// A word of a name, lower-cased: letters and digits with `&`, `-`, `.` and apostrophes between them, or `&`.
    fn name_word(&self, at: usize) -> (String, usize) {
        let inner = |place: usize| {
            let here = self.at(place);
            here.is_alphanumeric()
                || (matches!(here, '&' | '-' | '.' | '\'' | '’') && self.at(place + 1).is_alphanumeric() && place > at)
        };
        if self.at(at) == '&' {
            return ("&".to_owned(), at + 1);
        }
        let length = (at..at + MAX_WORD).take_while(|&place| inner(place)).count();
        let lower = |place: usize| if self.at(place) == '’' { '\'' } else { self.at(place) };
        ((at..at + length).flat_map(|place| lower(place).to_lowercase()).collect(), at + length)
    }

    /// A known symbol in capitals, at least three letters long and no word, in a text that is not all capitals.
    fn ticker(&self, at: usize) -> Option<Hit> {
        let length = (at..at + 12).take_while(|&place| self.at(place).is_ascii_uppercase()).count();
        if self.shouted || !(3..=10).contains(&length) || self.at(at + length).is_alphanumeric() {
            return None;
        }
        let symbol: String = self.chars[at..at + length].iter().collect();
        let known = COMPANIES.symbols.contains(symbol.as_str()) && !AMBIGUOUS.contains(&symbol.as_str());
        known.then(|| Hit { end: at + length, kind: "ticker", symbol: Some(symbol) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Vec<(String, String, Option<String>)> {
        entities(text).into_iter().map(|entity| (entity.kind.to_string(), entity.text, entity.symbol)).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str, Option<&str>)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(kind, text, symbol)| ((*kind).to_owned(), (*text).to_owned(), symbol.map(str::to_owned)))
            .collect();
        assert_eq!(found(text), expected, "{text}");
    }

    #[test]
    fn cashtags_carry_their_symbol() {
        check(
            "$aapl, $BRK.B and ($T) rise; $$$ $TOOLONGX a$b $5",
            &[
                ("cashtag", "$aapl", Some("AAPL")),
                ("cashtag", "$BRK.B", Some("BRK.B")),
                ("cashtag", "$T", Some("T")),
                ("money", "$5", None),
            ],
        );
    }

    #[test]
    fn money_is_found_before_and_behind_the_number() {
        for text in [
            "$5",
            "$1,234.50",
            "$2.5bn",
            "€ 3 billion",
            "US$40 million",
            "USD 12bn",
            "Rs 500 crore",
            "₹500 crore",
            "5 million dollars",
            "30 euros",
            "12,5 Mio €",
            "£3m",
            "Rs. 20 lakh",
        ] {
            check(&format!("paid {text}."), &[("money", text, None)]);
        }
        check("5 million people", &[]);
    }

    #[test]
    fn percentages_are_found_in_figures_and_words() {
        for text in [
            "5%",
            "-3.5%",
            "+12 percent",
            "0.25 percentage points",
            "6.50 per cent",
            "25 basis points",
            "50 bps",
            "3 %",
        ] {
            check(&format!("moved {text} today"), &[("percent", text, None)]);
        }
    }

    #[test]
    fn dates_are_found_in_figures_and_words() {
        for text in [
            "2026-01-31",
            "1/31/2026",
            "31/01/26",
            "January 31, 2026",
            "Jan. 5",
            "March 2026",
            "31 January 2026",
            "5th of May",
            "Q3 2025",
            "Q1",
            "FY26",
            "H1 2026",
            "Dec 3rd, 2025",
        ] {
            check(&format!("due {text}, they say"), &[("date", text, None)]);
        }
        check("they may 5 times march on 99/99/9999 and 1-2-3", &[]);
    }

    #[test]
    fn companies_need_a_capital_and_lose_their_possessive() {
        check(
            "Apple's chief met Coca-Cola and AT&T",
            &[("company", "Apple", Some("AAPL")), ("company", "Coca-Cola", Some("KO")), ("company", "AT&T", Some("T"))],
        );
        check("an apple a day", &[]);
        check(
            "Bank of America and Johnson & Johnson",
            &[("company", "Bank of America", Some("BAC")), ("company", "Johnson & Johnson", Some("JNJ"))],
        );
        check(
            "McDonald’s and Lowe's report; Applebee",
            &[("company", "McDonald’s", Some("MCD")), ("company", "Lowe's", Some("LOW"))],
        );
    }

    #[test]
    fn tickers_are_known_or_listed() {
        check(
            "TSLA slips (NASDAQ: ZZZZ) near NYSE:BRK.B",
            &[
                ("ticker", "TSLA", Some("TSLA")),
                ("ticker", "NASDAQ: ZZZZ", Some("ZZZZ")),
                ("ticker", "NYSE:BRK.B", Some("BRK.B")),
            ],
        );
        check("NET COST OF SNOW AND TSLA", &[]);
        check("the net COST of it", &[]);
    }

    #[test]
    fn offsets_count_unicode_scalars_of_the_text() {
        let text = "🚀 Größe: Tesla +5%";
        let all = entities(text);
        assert_eq!(all.len(), 2);
        for entity in all {
            let part: String = text.chars().skip(entity.start).take(entity.end - entity.start).collect();
            assert_eq!(part, entity.text);
        }
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        for part in ["$", "1,", "Bank of ", "January ", "A", "5 per ", "$A.", "1/1/"] {
            let text = part.repeat(1_000_000 / part.len());
            let started = std::time::Instant::now();
            assert!(entities(&text).len() <= MAX_ENTITIES);
            assert!(started.elapsed().as_secs() < 5, "{part}");
        }
    }

    proptest! {
        #[test]
        fn entities_are_ordered_and_lie_in_the_text(text in "[ $€%.,:0-9A-Za-zü'&/-]{0,80}") {
            let length = text.chars().count();
            let mut last = 0;
            for entity in entities(&text) {
                prop_assert!(entity.start >= last && entity.start < entity.end && entity.end <= length);
                last = entity.end;
            }
        }
    }
}
