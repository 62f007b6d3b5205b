//! Every blob an action result needs to be complete, those inside its output directories included. Knows no cache.

use crate::context::digest;
use crate::failure::{from_store, missing};
use crate::limits::REFERENCED_MAX;
use kiln_cas::{BlobStore as _, Digest, MESSAGE_SIZE_MAX};
use kiln_proto::{convert, reapi};
use kiln_store::{DirectoryError, DiskStore};
use prost::Message as _;
use std::collections::BTreeSet;
use tonic::Status;

/// The blobs `result` names, sorted, each once.
///
/// # Errors
/// `INVALID_ARGUMENT` for what is no digest or no tree, or names too many; `FAILED_PRECONDITION` when a tree is not here.
pub(crate) fn referenced(result: &reapi::ActionResult, disk: &DiskStore) -> Result<Vec<Digest>, Status> {
    let named = convert::result_digests(result).map_err(|error| Status::invalid_argument(format!("bad digest: {error}")))?;
    let mut all: BTreeSet<Digest> = named.into_iter().collect();
    for directory in &result.output_directories {
        if let Some(wire) = &directory.tree_digest {
            tree_files(&digest(Some(wire))?, disk, &mut all)?;
        }
        if let Some(wire) = &directory.root_directory_digest {
            directory_files(digest(Some(wire))?, disk, &mut all)?;
        }
        bounded(&all)?;
    }
    bounded(&all)?;
    all.remove(&Digest::EMPTY);
    Ok(all.into_iter().collect())
}

fn bounded(all: &BTreeSet<Digest>) -> Result<(), Status> {
    match all.len() > REFERENCED_MAX {
        true => Err(Status::invalid_argument(format!("result names over {REFERENCED_MAX} blobs"))),
        false => Ok(()),
    }
}

/// The files of a Tree message. (Its directories are inside it.)
fn tree_files(tree: &Digest, disk: &DiskStore, all: &mut BTreeSet<Digest>) -> Result<(), Status> {
    if tree.size > MESSAGE_SIZE_MAX as u64 {
        return Err(Status::invalid_argument(format!("tree {tree} is too large")));
    }
    let bytes = disk.get(tree).map_err(|error| from_store(&error))?.ok_or_else(|| missing(&[*tree]))?;
    let decoded = reapi::Tree::decode(&bytes[..]).map_err(|_| Status::invalid_argument(format!("{tree} is no tree")))?;
    for file in decoded.root.iter().chain(&decoded.children).flat_map(|directory| &directory.files) {
        all.insert(digest(file.digest.as_ref())?);
        bounded(all)?;
    }
    Ok(())
}

/// The files and directories below a directory.
fn directory_files(root: Digest, disk: &DiskStore, all: &mut BTreeSet<Digest>) -> Result<(), Status> {
    let mut pending = vec![root];
    let mut seen = BTreeSet::from([root]);
    while let Some(next) = pending.pop() {
        let directory = disk.directory(&next).map_err(|error| match error {
            DirectoryError::Store(error) => from_store(&error),
            DirectoryError::Decode { .. } => Status::invalid_argument(error.to_string()),
        })?;
        let directory = directory.ok_or_else(|| missing(&[next]))?;
        all.insert(next);
        all.extend(directory.files.iter().map(|file| file.digest));
        let children = directory.directories.iter().map(|child| child.digest);
        pending.extend(children.filter(|child| seen.insert(*child)));
        bounded(all)?;
        bounded(&seen)?;
    }
    Ok(())
}
