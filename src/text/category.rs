//! Topic categories by weighted words: small, fast and explainable; no model.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::clean::with_title;
use crate::messages::analysis::Category;
use crate::messages::document::Document;

/// Words looked at: the topic shows early.
const MAX_WORDS: usize = 400;
/// A topic needs this much to be named.
const MIN_SCORE: f32 = 1.0;
/// Weight of doubt: what confidence a single weak hint gets.
const DOUBT: f32 = 1.0;
/// What a text without any hint is called.
const OTHER: &str = "other";

/// Categories and their phrases; of equal scores the first listed wins. Phrases are lower case, words divided by one space.
const PHRASES: &[(&str, &[(&str, f32)])] = &[
    (
        "earnings",
        &[
            ("earnings", 2.0),
            ("eps", 2.0),
            ("quarterly results", 2.5),
            ("quarterly profit", 2.5),
            ("net income", 2.0),
            ("net profit", 2.0),
            ("net loss", 2.0),
            ("operating profit", 2.0),
            ("revenue", 1.2),
            ("revenues", 1.2),
            ("sales", 0.6),
            ("q1", 1.0),
            ("q2", 1.0),
            ("q3", 1.0),
            ("q4", 1.0),
            ("beats estimates", 2.0),
            ("misses estimates", 2.0),
            ("tops estimates", 2.0),
            ("consensus", 0.8),
            ("ebitda", 1.8),
            ("results", 0.8),
            ("profit", 1.0),
            ("per share", 0.8),
            ("quartalszahlen", 2.5),
            ("gewinn", 1.2),
            ("umsatz", 1.2),
            ("bénéfice", 1.5),
            ("ganancias", 1.2),
            ("beneficio", 1.2),
        ],
    ),
    (
        "guidance",
        &[
            ("guidance", 2.5),
            ("outlook", 1.8),
            ("forecast", 1.4),
            ("forecasts", 1.4),
            ("full year", 0.8),
            ("raises outlook", 2.5),
            ("cuts outlook", 2.5),
            ("warns", 1.0),
            ("profit warning", 3.0),
            ("sees", 0.8),
            ("expects", 0.8),
            ("prognose", 2.0),
            ("reaffirms", 1.2),
            ("projection", 1.0),
            ("projects", 0.8),
        ],
    ),
    (
        "merger",
        &[
            ("merger", 2.5),
            ("merge", 2.0),
            ("merges", 2.0),
            ("acquire", 2.0),
            ("acquires", 2.2),
            ("acquired", 1.6),
            ("acquisition", 2.2),
            ("takeover", 2.5),
            ("buyout", 2.2),
            ("to buy", 1.2),
            ("bid for", 1.5),
            ("tender offer", 2.0),
            ("stake in", 1.2),
            ("spin off", 1.8),
            ("spinoff", 1.8),
            ("divest", 1.6),
            ("divests", 1.6),
            ("joint venture", 1.2),
            ("übernahme", 2.5),
            ("fusion", 1.5),
            ("adquisición", 2.0),
        ],
    ),
    (
        "rating",
        &[
            ("upgrade", 1.8),
            ("upgrades", 2.0),
            ("upgraded", 2.0),
            ("downgrade", 1.8),
            ("downgrades", 2.0),
            ("downgraded", 2.0),
            ("price target", 2.5),
            ("target price", 2.5),
            ("initiates coverage", 2.5),
            ("initiated coverage", 2.5),
            ("overweight", 2.0),
            ("underweight", 2.0),
            ("outperform", 2.0),
            ("underperform", 2.0),
            ("buy rating", 2.0),
            ("neutral rating", 2.0),
            ("sell rating", 2.0),
            ("analyst", 0.8),
            ("analysts", 0.6),
            ("rating", 0.8),
            ("pt", 0.6),
            ("kursziel", 2.5),
            ("reiterates", 1.0),
        ],
    ),
    (
        "dividend",
        &[
            ("dividend", 2.5),
            ("dividends", 2.2),
            ("payout", 1.2),
            ("ex dividend", 2.5),
            ("buyback", 2.0),
            ("share repurchase", 2.2),
            ("repurchase", 1.6),
            ("stock split", 2.0),
            ("special dividend", 3.0),
            ("dividende", 2.5),
            ("dividendo", 2.5),
        ],
    ),
    (
        "offering",
        &[
            ("ipo", 2.5),
            ("initial public offering", 3.0),
            ("public offering", 2.2),
            ("secondary offering", 2.5),
            ("offering", 1.2),
            ("prices offering", 2.5),
            ("convertible notes", 2.0),
            ("bond sale", 2.0),
            ("debt offering", 2.2),
            ("goes public", 2.2),
            ("listing", 0.8),
            ("spac", 2.0),
            ("raises capital", 1.8),
            ("funding round", 2.0),
            ("börsengang", 2.5),
        ],
    ),
    (
        "legal",
        &[
            ("lawsuit", 2.5),
            ("sues", 2.5),
            ("sued", 2.2),
            ("court", 1.5),
            ("judge", 1.5),
            ("settlement", 1.6),
            ("settles", 1.4),
            ("fraud", 1.8),
            ("antitrust", 2.2),
            ("probe", 1.6),
            ("investigation", 1.8),
            ("fine", 0.8),
            ("fined", 2.0),
            ("sec", 0.8),
            ("doj", 1.6),
            ("regulator", 1.4),
            ("regulators", 1.4),
            ("class action", 2.5),
            ("indicted", 2.2),
            ("patent", 1.2),
            ("bankruptcy", 2.0),
            ("chapter 11", 2.5),
            ("klage", 2.2),
            ("demanda", 0.8),
        ],
    ),
    (
        "management",
        &[
            ("ceo", 1.0),
            ("cfo", 1.2),
            ("chief executive", 1.2),
            ("steps down", 2.2),
            ("resigns", 2.0),
            ("appoints", 2.0),
            ("appointed", 1.4),
            ("names new", 1.6),
            ("board", 0.6),
            ("chairman", 1.0),
            ("layoffs", 2.0),
            ("job cuts", 2.0),
            ("cuts jobs", 2.0),
            ("successor", 1.4),
            ("restructuring", 1.2),
        ],
    ),
    (
        "product",
        &[
            ("launch", 1.4),
            ("launches", 1.8),
            ("launched", 1.4),
            ("unveils", 2.0),
            ("unveil", 1.8),
            ("introduces", 1.6),
            ("new product", 2.0),
            ("recall", 1.8),
            ("recalls", 2.0),
            ("fda", 1.8),
            ("fda approval", 2.5),
            ("trial", 1.0),
            ("phase 3", 2.0),
            ("phase 2", 2.0),
            ("drug", 1.0),
            ("vaccine", 1.4),
            ("chip", 0.8),
            ("model", 0.5),
            ("prototype", 1.4),
            ("partnership", 1.0),
            ("rollout", 1.4),
            ("subscribers", 0.8),
        ],
    ),
    (
        "crypto",
        &[
            ("bitcoin", 2.5),
            ("btc", 2.2),
            ("ethereum", 2.5),
            ("ether", 1.6),
            ("eth", 1.6),
            ("crypto", 2.5),
            ("cryptocurrency", 2.5),
            ("blockchain", 2.0),
            ("stablecoin", 2.5),
            ("token", 1.2),
            ("tokens", 1.2),
            ("defi", 2.0),
            ("nft", 1.8),
            ("dogecoin", 2.5),
            ("solana", 2.2),
            ("xrp", 2.2),
            ("altcoin", 2.2),
            ("mining rigs", 1.5),
            ("coin", 0.8),
        ],
    ),
    (
        "commodity",
        &[
            ("oil", 1.6),
            ("crude", 2.2),
            ("brent", 2.4),
            ("wti", 2.2),
            ("opec", 2.4),
            ("gold", 1.6),
            ("silver", 1.4),
            ("copper", 2.0),
            ("natural gas", 2.2),
            ("lng", 2.0),
            ("wheat", 2.0),
            ("corn", 1.6),
            ("soybean", 2.0),
            ("soybeans", 2.0),
            ("barrel", 1.6),
            ("barrels", 1.6),
            ("ounce", 1.4),
            ("iron ore", 2.4),
            ("lithium", 1.6),
            ("aluminium", 1.6),
            ("aluminum", 1.6),
            ("coffee", 1.0),
            ("commodities", 2.2),
            ("bullion", 2.2),
            ("petróleo", 2.2),
            ("ölpreis", 2.2),
        ],
    ),
    (
        "macro",
        &[
            ("fed", 2.0),
            ("federal reserve", 2.8),
            ("ecb", 2.4),
            ("rbi", 2.2),
            ("central bank", 2.6),
            ("interest rate", 2.4),
            ("interest rates", 2.4),
            ("rate hike", 2.4),
            ("rate cut", 2.4),
            ("rate cuts", 2.4),
            ("repo rate", 2.6),
            ("inflation", 2.4),
            ("cpi", 2.2),
            ("ppi", 2.0),
            ("gdp", 2.4),
            ("unemployment", 2.2),
            ("payrolls", 2.4),
            ("jobless claims", 2.6),
            ("jobs report", 2.2),
            ("recession", 2.0),
            ("tariff", 1.8),
            ("tariffs", 1.8),
            ("treasury", 1.4),
            ("yields", 1.4),
            ("bond yields", 2.0),
            ("pmi", 2.2),
            ("consumer confidence", 2.2),
            ("housing starts", 2.2),
            ("retail sales", 1.8),
            ("trade deficit", 2.2),
            ("economy", 1.6),
            ("economic", 1.2),
            ("monetary policy", 2.6),
            ("fiscal", 1.2),
            ("bank of england", 2.6),
            ("bank of japan", 2.6),
            ("zinsen", 2.0),
            ("leitzins", 2.6),
            ("inflación", 2.4),
            ("ezb", 2.4),
            ("bce", 2.4),
            ("banque centrale", 2.6),
        ],
    ),
    (
        "market",
        &[
            ("stocks", 1.0),
            ("shares", 0.6),
            ("futures", 1.2),
            ("dow", 1.4),
            ("nasdaq", 1.0),
            ("s p 500", 1.8),
            ("s&p 500", 1.8),
            ("index", 0.8),
            ("rally", 0.8),
            ("selloff", 1.2),
            ("sell off", 1.2),
            ("wall street", 1.4),
            ("market", 0.6),
            ("markets", 0.8),
            ("premarket", 1.2),
            ("volatility", 1.0),
            ("short interest", 1.4),
            ("52 week high", 1.4),
            ("52 week low", 1.4),
            ("dax", 1.6),
            ("nikkei", 1.6),
            ("sensex", 1.6),
            ("nifty", 1.6),
            ("ftse", 1.6),
            ("aktien", 1.0),
            ("bourse", 1.2),
        ],
    ),
];

/// A phrase behind its first word.
struct Phrase {
    rest: Vec<&'static str>,
    category: usize,
    weight: f32,
}

static BY_FIRST_WORD: LazyLock<HashMap<&'static str, Vec<Phrase>>> = LazyLock::new(|| {
    let mut phrases = HashMap::<&str, Vec<Phrase>>::new();
    for (category, (_, list)) in PHRASES.iter().enumerate() {
        for &(phrase, weight) in *list {
            let mut words = phrase.split(' ');
            if let Some(first) = words.next() {
                phrases.entry(first).or_default().push(Phrase { rest: words.collect(), category, weight });
            }
        }
    }
    phrases
});

static LABELS: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| PHRASES.iter().map(|(label, _)| Arc::from(*label)).collect());

/// Names of all categories.
pub fn labels() -> impl Iterator<Item = &'static str> {
    PHRASES.iter().map(|(label, _)| *label).chain([OTHER])
}

/// The category of a document, title included.
#[must_use]
pub fn categorise(document: &Document) -> Category {
    categorise_text(&with_title(document.title.as_deref(), &document.text))
}

/// The category of a text and how sure that is: the share of its hints among all hints and doubt.
#[must_use]
pub fn categorise_text(text: &str) -> Category {
    let words: Vec<String> = text
        .split(|character: char| !(character.is_alphanumeric() || character == '&'))
        .filter(|word| !word.is_empty())
        .take(MAX_WORDS)
        .map(str::to_lowercase)
        .collect();
    let mut scores = vec![0.0_f32; PHRASES.len()];
    for (place, word) in words.iter().enumerate() {
        for phrase in BY_FIRST_WORD.get(word.as_str()).into_iter().flatten() {
            let rest = words.get(place + 1..place + 1 + phrase.rest.len());
            if rest.is_some_and(|rest| rest.iter().zip(&phrase.rest).all(|(word, wanted)| word == wanted)) {
                scores[phrase.category] += phrase.weight;
            }
        }
    }
    let total: f32 = scores.iter().sum();
    let mut best = 0;
    for (category, &score) in scores.iter().enumerate() {
        if score > scores[best] {
            best = category;
        }
    }
    if scores[best] < MIN_SCORE {
        return Category { label: OTHER.into(), confidence: DOUBT / (DOUBT + total) };
    }
    Category { label: Arc::clone(&LABELS[best]), confidence: scores[best] / (total + DOUBT) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn category(text: &str) -> Category {
        let document = serde_json::json!({"id": "1", "source": "news", "text": text});
        categorise(&serde_json::from_value(document).unwrap())
    }

    #[test]
    fn headlines_get_their_topic() {
        for (text, label) in [
            ("Northwind quarterly profit tops estimates on strong revenue", "earnings"),
            ("Acme cuts full-year outlook, shares slide", "guidance"),
            ("Globex to acquire Initech in $4bn takeover", "merger"),
            ("Analyst upgrades Acme to overweight, lifts price target", "rating"),
            ("Acme declares special dividend of $1 per share", "dividend"),
            ("Initech prices initial public offering above range", "offering"),
            ("Court rejects class action lawsuit against Globex", "legal"),
            ("Globex chief executive resigns, board appoints successor", "management"),
            ("Globex unveils electric van prototype", "product"),
            ("Bitcoin climbs as stablecoin bill advances", "crypto"),
            ("Brent crude falls below $70 a barrel after OPEC meeting", "commodity"),
            ("RBI keeps repo rate unchanged at 6.5%, inflation eases", "macro"),
            ("EZB senkt Leitzins", "macro"),
            ("The team won again last night", "other"),
        ] {
            let category = category(text);
            assert_eq!(&*category.label, label, "{text}: {category:?}");
            assert!(category.confidence > 0.0 && category.confidence <= 1.0);
        }
    }

    #[test]
    fn confidence_falls_when_topics_compete() {
        let clear = category("Fed raises interest rates as inflation rises").confidence;
        let mixed = category("Fed rate cut talk lifts bitcoin and gold before Acme earnings").confidence;
        assert!(clear > 0.8 && mixed < 0.6, "{clear} / {mixed}");
    }

    #[test]
    fn every_phrase_can_be_met() {
        for (label, list) in PHRASES {
            for (phrase, weight) in *list {
                let plain = phrase.chars().all(|character| character.is_alphanumeric() || " &".contains(character));
                assert!(plain && *weight > 0.0 && **phrase == phrase.to_lowercase(), "{label}: {phrase}");
            }
        }
    }
}
