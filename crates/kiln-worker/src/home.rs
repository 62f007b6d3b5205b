//! Which node is home to a blob. Pure.

use kiln_cas::Digest;

/// The node that is home to a digest: highest hash of both together (rendezvous hashing, Thaler and Ravishankar 1998), so
/// that a node that leaves moves only its own blobs.
pub fn home<'a, T>(nodes: &'a [T], name: impl Fn(&T) -> &str, digest: &Digest) -> Option<&'a T> {
    let weight = |node: &T| {
        let mut hasher = kiln_cas::Hasher::new();
        hasher.update(&digest.hash);
        hasher.update(name(node).as_bytes());
        hasher.finish().hash
    };
    match nodes {
        [] => None,
        [only] => Some(only),
        many => many.iter().max_by_key(|node| weight(node)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_leaves_moves_only_its_own() {
        let all = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let fewer = ["a".to_owned(), "c".to_owned()];
        let mut moved = 0;
        for index in 0..200u32 {
            let digest = Digest::of(&index.to_le_bytes());
            let before = home(&all, |name| name, &digest).unwrap();
            let after = home(&fewer, |name| name, &digest).unwrap();
            assert!(before == after || before == "b");
            moved += u32::from(before == "b");
        }
        assert!((30..110).contains(&moved), "{moved}");
    }
}
