//! GetTree at the front door: walks a tree whose directories live in different homes, level by level. Keeps nothing.

use crate::front::Front;
use crate::front::cas::TreeStream;
use crate::limits::{TREE_DIRECTORIES_MAX, TREE_PAGE_BYTES};
use futures::stream;
use kiln_cas::Digest;
use kiln_proto::reapi;
use prost::Message as _;
use std::collections::{BTreeSet, VecDeque};
use tonic::Status;

struct Walk {
    front: Front,
    instance: String,
    todo: VecDeque<Digest>,
    seen: BTreeSet<Digest>,
}

/// Pages of all directories below `root`, itself first, each once.
pub(crate) fn directories(front: Front, instance: String, root: Digest) -> TreeStream {
    let walk = Walk { front, instance, todo: VecDeque::from([root]), seen: BTreeSet::from([root]) };
    Box::pin(stream::try_unfold(walk, |mut walk| async { Ok(walk.page().await?.map(|page| (page, walk))) }))
}

impl Walk {
    async fn page(&mut self) -> Result<Option<reapi::GetTreeResponse>, Status> {
        let mut page = reapi::GetTreeResponse::default();
        let mut bytes = 0;
        while bytes < TREE_PAGE_BYTES {
            let Some(digest) = self.todo.pop_front() else { break };
            let directory = self.directory(&digest).await?;
            bytes += digest.size as usize;
            for child in &directory.directories {
                let child = super::digest(child.digest.as_ref())?;
                if self.seen.insert(child) {
                    self.todo.push_back(child);
                }
            }
            if self.seen.len() > TREE_DIRECTORIES_MAX {
                return Err(Status::resource_exhausted(format!("a tree of more than {TREE_DIRECTORIES_MAX} directories")));
            }
            page.directories.push(directory);
        }
        Ok(Some(page).filter(|page| !page.directories.is_empty()))
    }

    async fn directory(&self, digest: &Digest) -> Result<reapi::Directory, Status> {
        let bytes = self.front.small_blob(&self.instance, digest).await?;
        let bytes = bytes.ok_or_else(|| Status::not_found(format!("directory {digest} is not in the farm")))?;
        reapi::Directory::decode(&bytes[..]).map_err(|error| Status::invalid_argument(format!("{digest} is no directory: {error}")))
    }
}
