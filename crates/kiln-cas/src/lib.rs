//! Digests, canonical REAPI messages, input-root trees and the BlobStore trait. Knows no file system, no socket and no clock.
