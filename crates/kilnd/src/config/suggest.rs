//! The word that was probably meant. Knows no key.

/// The candidate that differs least from `word`, if it differs little.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(2);
    candidates.map(|candidate| (distance(word, candidate), candidate)).min().filter(|(far, _)| *far <= limit).map(|(_, near)| near)
}

/// Letters to insert, delete or replace to come from one word to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, a) in one.chars().enumerate() {
        let mut corner = above;
        row[0] = above + 1;
        for (left, b) in other.iter().enumerate() {
            let replaced = corner + usize::from(a != *b);
            corner = row[left + 1];
            row[left + 1] = replaced.min(corner + 1).min(row[left] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let words = ["slots", "listen", "store_max"];
        assert_eq!(nearest("slot", words.into_iter()), Some("slots"));
        assert_eq!(nearest("sotre_max", words.into_iter()), Some("store_max"));
        assert_eq!(nearest("lisen", words.into_iter()), Some("listen"));
        assert_eq!(nearest("compiler", words.into_iter()), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
