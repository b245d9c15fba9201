//! Area under the ROC curve.

/// Probability that a positive has the higher score, ties counted half (Mann and Whitney); `None` where all samples are of
/// one kind.
pub fn auc(scores: &[(f64, bool)]) -> Option<f64> {
    let mut sorted: Vec<&(f64, bool)> = scores.iter().collect();
    sorted.sort_unstable_by(|one, two| one.0.total_cmp(&two.0));
    let positives = scores.iter().filter(|score| score.1).count();
    let negatives = scores.len() - positives;
    if positives == 0 || negatives == 0 {
        return None;
    }
    // Twice the count of pairs won, so that a tie is a whole number.
    let (mut won, mut below) = (0_u64, 0_u64);
    for tied in sorted.chunk_by(|one, two| one.0.total_cmp(&two.0).is_eq()) {
        let up = tied.iter().filter(|score| score.1).count() as u64;
        let down = tied.len() as u64 - up;
        won += up * (2 * below + down);
        below += down;
    }
    #[expect(clippy::cast_precision_loss, reason = "a share of pairs")]
    Some(won as f64 / (2.0 * positives as f64 * negatives as f64))
}
