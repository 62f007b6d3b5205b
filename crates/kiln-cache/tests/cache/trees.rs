//! GetTree.

use crate::support::TestCache;
use kiln_cas::{Digest, TreeBuilder};
use kiln_proto::convert::digest_to_wire;
use kiln_proto::reapi;
use prost::Message as _;
use std::collections::BTreeSet;
use tonic::{Code, Status};

async fn get(cache: &TestCache, root: &Digest, page_size: i32, token: &str) -> Result<Vec<reapi::GetTreeResponse>, Status> {
    let request = reapi::GetTreeRequest {
        instance_name: "main".into(),
        root_digest: Some(digest_to_wire(root)),
        page_size,
        page_token: token.into(),
        digest_function: 1,
    };
    let mut stream = cache.cas().get_tree(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await? {
        pages.push(page);
    }
    Ok(pages)
}

fn digests(pages: &[reapi::GetTreeResponse]) -> Vec<Digest> {
    pages.iter().flat_map(|page| &page.directories).map(|directory| Digest::of(&directory.encode_to_vec())).collect()
}

async fn tree(cache: &TestCache, directories: usize) -> (Digest, BTreeSet<Digest>) {
    let mut tree = TreeBuilder::new();
    for number in 0..directories {
        tree.file(&format!("/a/{}/{number}/f.h", number % 7), Digest::of(&number.to_le_bytes()), false).unwrap();
        tree.file(&format!("/twin{}/same/f.h", number % 3), Digest::EMPTY, false).unwrap();
    }
    let tree = tree.build();
    for (_, bytes) in &tree.directories {
        cache.put(bytes).await;
    }
    (tree.root, tree.directories.iter().map(|(digest, _)| *digest).collect())
}

#[tokio::test]
async fn every_directory_comes_once_the_root_first() {
    let cache = TestCache::start().await;
    let (root, all) = tree(&cache, 40).await;
    for page_size in [0, 1, 7, 100_000] {
        let pages = get(&cache, &root, page_size, "").await.unwrap();
        let got = digests(&pages);
        assert_eq!(got[0], root);
        assert_eq!(got.len(), all.len());
        assert_eq!(got.iter().copied().collect::<BTreeSet<_>>(), all);
        assert!(page_size == 0 || pages.iter().all(|page| page.directories.len() <= page_size as usize));
        let (last, others) = pages.split_last().unwrap();
        assert!(last.next_page_token.is_empty() && others.iter().all(|page| !page.next_page_token.is_empty()));
        let third = got.len() / 3;
        let resumed = get(&cache, &root, page_size, &third.to_string()).await.unwrap();
        assert_eq!(digests(&resumed), got[third..]);
    }
}

#[tokio::test]
async fn missing_subtrees_are_passed_over_and_a_missing_root_is_not_found() {
    let cache = TestCache::start().await;
    let mut tree = TreeBuilder::new();
    tree.directory("/here/empty").unwrap();
    tree.file("/gone/f", Digest::EMPTY, false).unwrap();
    let tree = tree.build();
    assert_eq!(get(&cache, &tree.root, 0, "").await.unwrap_err().code(), Code::NotFound);
    let gone = {
        let mut tree = TreeBuilder::new();
        tree.file("/f", Digest::EMPTY, false).unwrap();
        tree.build().root
    };
    for (digest, bytes) in &tree.directories {
        if *digest != gone {
            cache.put(bytes).await;
        }
    }
    let got = digests(&get(&cache, &tree.root, 0, "").await.unwrap());
    assert_eq!(got.len(), tree.directories.len() - 1);
    assert!(!got.contains(&gone));
    assert_eq!(digests(&get(&cache, &Digest::EMPTY, 0, "").await.unwrap()), [Digest::EMPTY]);
}

#[tokio::test]
async fn what_is_no_tree_is_refused() {
    let cache = TestCache::start().await;
    let blob = cache.put(b"\xff\xff no directory").await;
    let bad_child =
        reapi::Directory { directories: vec![reapi::DirectoryNode { name: "x".into(), digest: None }], ..Default::default() };
    let bad_child = cache.put(&bad_child.encode_to_vec()).await;
    for (root, page_size, token) in [(&blob, 0, ""), (&bad_child, 0, ""), (&Digest::EMPTY, -1, ""), (&Digest::EMPTY, 0, "x")] {
        assert_eq!(get(&cache, root, page_size, token).await.unwrap_err().code(), Code::InvalidArgument);
    }
}
