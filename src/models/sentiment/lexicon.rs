//! Words that tell direction in market text, written for this project.
//!
//! Entries are lower-case stems: a word belongs to a list when it is the stem or the stem with a common ending.

/// Good news for the price.
const GOOD: &str = "accelerat accretive achiev advantag approv attractive award beat best bolster boom breakthrough bright \
    bull bullish buyback cheap clear confident cure deliver dividend dominat easing efficient encourag enthusias \
    exceed excel expand favorabl favourabl flourish fortun gain grew grow growth healthy hope impress improv innovat \
    inflow launch lead leap lucrative milestone momentum opportunit optimis outperform outpac outstanding overcom \
    overweight partner pass popular positive premium profit progress promis prosper rebound record recover \
    reiterat resilien resolv reward robust settl solid stabil stellar streak strength strengthen strong stronger success \
    superior surpass sustain top triumph turnaround undervalu unlock upbeat upgrad upside win won";

/// Bad news for the price.
const BAD: &str = "abandon abrupt accus adverse afraid alarm allegation anxiet attack avert bad bailout bankrup bear \
    bearish beleaguer blame bleak bloodbath breach broken bubble burden cancel caution challeng chaos collaps complain \
    concern condemn confus contagion contract correction corrupt crash crisis critici curb cyberattack damag danger \
    deadly debt default defect deficit delay delinquen delist denied deterior difficult dilut disappoint disaster \
    dismal disrupt distress doubt downbeat downgrad downside downturn drag dread exit expens fail failur fallout fault \
    fear fine fraud freez furlough glut grim halt hamper hardship headwind hit hurt idl impair indict injunct \
    insolven investigat jeopard lackluster lag lawsuit layoff liquidat litigat los loss lost miscond miss mislead \
    negativ nervous outage outflow overvalu pain panic penalt pessimis plagu poor pressur probe problem protest recall \
    recession reject resign restat risk scandal scar sceptic scrap scrutin sell selloff setback shock shortage \
    shrink shut skeptic slowdown sluggish slump stagnat stall strain strike struggl sue suffer suspend tension \
    terminat threat tough toxic trouble tumble turmoil uncertain underperform underweight unrest unprofitabl violat \
    virus volatil vulnerabl warn weak weaken weakness worr worse worst writedown writeoff";

/// The price or a figure goes up.
const UP: &str = "advanc ascend boost bounc climb edge-up elevat gap-up higher hike increas inch-up jump lift pop raise \
    raising rall ris rose rocket skyrocket soar spike surg swell uptick upward zoom";

/// The price or a figure goes down.
const DOWN: &str = "crater cut declin decreas descend dip div dow drop dump edge-down erod eas fall fell lower nosediv \
    pare plummet plung pullback reduc retreat sag shed sink sank skid slash slid slip slow soften spiral stumbl \
    sunk tank trim tumbl downward worsen";

/// Turns what follows around.
const NEGATION: &str =
    "not no never n't cannot without neither nor hardly despite less lack avoid unlikely fewer against";

/// Says that nothing is known yet, or that something is only announced.
const UNCERTAIN: &str = "may might could would perhaps possibl if whether consider explor plan expect forecast await ahead \
    preview watch schedul transcript conference webcast declare announc present report publish notice what how why who \
    when which should can question here";

/// Makes what is beside it stronger.
const STRONG: &str = "very sharply massive huge significantl dramatic steep biggest largest deeply most extremely surpris \
    unexpected sudden big strong record double triple";

/// Endings a stem may have.
const ENDINGS: &[&str] = &[
    "", "s", "es", "ed", "d", "e", "ing", "er", "ers", "ly", "y", "ies", "ion", "ions", "ings", "ment", "ments",
    "ation", "ations", "ting", "ted", "ping", "ped", "ning", "ged", "ging", "ive", "ity", "able", "al", "ful", "ic",
    "tcy", "tcies", "cy", "m", "t", "tic", "ties", "ated", "ates", "ate", "ating", "ator", "ance", "ence", "ent",
    "ency", "ilience", "es'", "ure", "ures", "ness", "ous", "st", "ism", "ts", "t's", "off", "offs", "out", "down",
];

/// The lists, in the order of [`Groups::counts`].
const LISTS: [&str; GROUPS] = [GOOD, BAD, UP, DOWN, NEGATION, UNCERTAIN, STRONG];

/// How many lists there are.
pub const GROUPS: usize = 7;
/// Position of [`NEGATION`] among the lists.
pub const NEGATING: usize = 4;

/// Looks words up in the lists.
#[derive(Debug)]
pub struct Lexicon {
    stems: std::collections::HashMap<&'static str, u8>,
    longest: usize,
}

impl Default for Lexicon {
    fn default() -> Self {
        let mut stems = std::collections::HashMap::new();
        for (group, list) in LISTS.iter().enumerate() {
            for stem in list.split_whitespace() {
                *stems.entry(stem).or_insert(0) |= 1 << group;
            }
        }
        let longest = stems.keys().map(|stem| stem.len()).max().unwrap_or_default();
        Self { stems, longest }
    }
}

impl Lexicon {
    /// The lists a lower-case word is in, one bit each.
    pub fn lists(&self, word: &str) -> u8 {
        let shortest = word.len().saturating_sub(8).max(2);
        let lengths = (shortest..=word.len().min(self.longest)).rev().filter(|length| word.is_char_boundary(*length));
        for length in lengths {
            let (stem, ending) = word.split_at(length);
            if let Some(lists) = self.stems.get(stem)
                && ENDINGS.contains(&ending)
            {
                return *lists;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_by_stem_and_ending() {
        let lexicon = Lexicon::default();
        let is = |word: &str, group: usize| lexicon.lists(word) & (1 << group) != 0;
        assert!(is("beats", 0) && is("upgraded", 0) && is("profitable", 0));
        assert!(is("warning", 1) && is("downgrades", 1) && is("losses", 1) && is("bankruptcy", 1));
        assert!(is("surged", 2) && is("soaring", 2) && is("plunges", 3) && is("slipped", 3));
        assert!(is("not", NEGATING));
        for word in ["the", "apple", "reportedlyish", "losangeles", "é"] {
            assert_eq!(lexicon.lists(word), 0, "{word}");
        }
    }
}
