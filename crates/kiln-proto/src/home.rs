//! Which node is home to a blob or a result. Pure.

use kiln_cas::{Digest, Hasher};

/// The node that is home to a digest: highest hash of both together (rendezvous hashing, Thaler and Ravishankar 1998), so
/// that a node that leaves moves only its own blobs. `name` must tell nodes apart; everybody must use the same.
pub fn home<'a, T>(nodes: &'a [T], name: impl Fn(&T) -> &str, digest: &Digest) -> Option<&'a T> {
    let weight = |node: &T| {
        let mut hasher = Hasher::new();
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
        let (all, fewer) = (["a", "b", "c"], ["a", "c"]);
        let mut moved = 0;
        for index in 0..200_u32 {
            let digest = Digest::of(&index.to_le_bytes());
            let before = home(&all, |name| name, &digest).unwrap();
            let after = home(&fewer, |name| name, &digest).unwrap();
            assert!(before == after || *before == "b");
            moved += u32::from(*before == "b");
        }
        assert!((30..110).contains(&moved), "{moved}");
    }

    #[test]
    fn homes_do_not_change_between_versions() {
        let nodes = ["cache-1", "cache-2", "cache-3", "cache-4"];
        let homes: Vec<&str> =
            (0..12_u32).map(|index| *home(&nodes, |name| name, &Digest::of(&index.to_le_bytes())).unwrap()).collect();
        let order: String = homes.iter().map(|name| &name[6..]).collect();
        assert_eq!(order, "122214324233");
    }
}
