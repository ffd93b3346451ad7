//! Which known name somebody meant.

/// Longer names are not compared.
const LENGTH_MAX: usize = 100;

/// The candidate closest to the name, if it is within two edits (one for short names).
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > LENGTH_MAX {
        return None;
    }
    let bound = if name.len() < 4 { 1 } else { 2 };
    candidates
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) from one text to the other; ASCII case and
/// `_` do not count, so that `createdAt` finds `created_at`.
fn distance(one: &str, two: &str) -> usize {
    let fold = |text: &str| -> Vec<u8> {
        text.bytes()
            .filter(|byte| *byte != b'_')
            .map(|byte| byte.to_ascii_lowercase())
            .collect()
    };
    let (one, two) = (fold(one), fold(two));
    if one.len().abs_diff(two.len()) > 2 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (i, left) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, right) in two.iter().enumerate() {
            let replace = last[j] + usize::from(left != right);
            let mut best = replace.min(last[j + 1] + 1).min(row[j] + 1);
            let swapped = i > 0 && j > 0 && one[i - 1] == *right && two[j - 1] == *left;
            if swapped {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_not() {
        let fields = ["status", "subject", "created_at", "id"];
        let find = |name| nearest(name, fields.into_iter());
        assert_eq!(find("stauts"), Some("status"));
        assert_eq!(find("createdAt"), Some("created_at"));
        assert_eq!(find("subjects"), Some("subject"));
        assert_eq!(find("pageSize"), None);
        assert_eq!(find(&"x".repeat(10_000)), None);
    }
}
