//! GetTree: every directory below a root, parents before children, in pages. Knows no file content.

use crate::failure::{blocking, from_store};
use crate::limits::{TREE_DIRECTORIES_MAX, TREE_PAGE_BYTES, TREE_PAGE_DIRECTORIES};
use futures::stream::{Stream, try_unfold};
use kiln_cas::{BlobStore as _, Digest};
use kiln_proto::convert::digest_from_wire;
use kiln_proto::reapi;
use kiln_rpc::limits::MESSAGE_MAX;
use kiln_store::DiskStore;
use prost::Message as _;
use std::collections::{HashSet, VecDeque};
use tonic::Status;

/// A walk, breadth first; each directory once, however often it stands in the tree.
pub(crate) struct TreeWalk {
    disk: DiskStore,
    queue: VecDeque<Digest>,
    seen: HashSet<Digest>,
    /// Directories taken so far; a page token is their number.
    taken: usize,
    skip: usize,
    page_directories: usize,
}

impl TreeWalk {
    /// A walk from `root`, going on after the page whose token is given.
    pub(crate) fn start(disk: DiskStore, root: Digest, page_size: i32, token: &str) -> Result<TreeWalk, Status> {
        let page_directories = match usize::try_from(page_size) {
            Ok(0) => TREE_PAGE_DIRECTORIES,
            Ok(count) => count.min(TREE_PAGE_DIRECTORIES),
            Err(_) => return Err(Status::invalid_argument("page_size is negative")),
        };
        let skip = if token.is_empty() { Ok(0) } else { token.parse() };
        let skip = skip.map_err(|_| Status::invalid_argument("page_token is none of this server's"))?;
        if !disk.contains(&root) {
            return Err(Status::not_found(format!("root directory {root} is not here")));
        }
        Ok(TreeWalk { disk, queue: VecDeque::from([root]), seen: HashSet::from([root]), taken: 0, skip, page_directories })
    }

    /// The next page; `None` after the last.
    fn page(&mut self) -> Result<Option<reapi::GetTreeResponse>, Status> {
        let mut page = reapi::GetTreeResponse::default();
        let mut bytes = 0;
        while let Some(digest) = self.queue.pop_front() {
            let Some(directory) = self.load(&digest)? else { continue };
            self.taken += 1;
            if self.taken <= self.skip {
                continue;
            }
            bytes += digest.size as usize;
            page.directories.push(directory);
            if page.directories.len() >= self.page_directories || bytes >= TREE_PAGE_BYTES {
                break;
            }
        }
        if !self.queue.is_empty() {
            page.next_page_token = self.taken.to_string();
        }
        Ok((!page.directories.is_empty()).then_some(page))
    }

    /// A directory, its children queued; `None` when it is not here, which GetTree passes over.
    fn load(&mut self, digest: &Digest) -> Result<Option<reapi::Directory>, Status> {
        // A page that has not reached its bound yet may take one directory more, so both together must fit a message.
        if digest.size > (MESSAGE_MAX - TREE_PAGE_BYTES) as u64 {
            return Err(Status::resource_exhausted(format!("directory {digest} is too large for a message")));
        }
        let Some(bytes) = self.disk.get(digest).map_err(|error| from_store(&error))? else { return Ok(None) };
        let bad = |reason: &str| Status::invalid_argument(format!("{digest} is no directory: {reason}"));
        let directory = reapi::Directory::decode(&bytes[..]).map_err(|error| bad(&error.to_string()))?;
        for child in &directory.directories {
            let child = digest_from_wire(child.digest.as_ref()).map_err(|error| bad(&error.to_string()))?;
            if self.seen.insert(child) {
                self.queue.push_back(child);
            }
        }
        if self.seen.len() > TREE_DIRECTORIES_MAX {
            return Err(Status::resource_exhausted(format!("tree of over {TREE_DIRECTORIES_MAX} directories")));
        }
        Ok(Some(directory))
    }
}

/// The pages of a walk, each read when it is asked for.
pub(crate) fn page_stream(walk: TreeWalk) -> impl Stream<Item = Result<reapi::GetTreeResponse, Status>> + Send {
    try_unfold(walk, |mut walk| async {
        let (page, walk) = blocking(move || (walk.page(), walk)).await?;
        Ok(page?.map(|page| (page, walk)))
    })
}
