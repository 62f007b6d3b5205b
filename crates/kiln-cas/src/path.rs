//! Paths as text: segments and links. Never asks a file system.

/// A path that cannot be part of an input root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Not absolute where it has to be.
    #[error("path {0:?} is not absolute")]
    Relative(String),
    /// Holds a NUL byte or `..`.
    #[error("path {0:?} has a segment that no tree can hold")]
    Segment(String),
}

/// The segments of an absolute path, without empty ones and `.`; `..` is an error, for only the file system can say where
/// it leads.
///
/// # Errors
/// [`PathError`] for a relative path, `..`, or a NUL.
pub fn normalise_segments(path: &str) -> Result<Vec<&str>, PathError> {
    let rest = path.strip_prefix('/').ok_or_else(|| PathError::Relative(path.to_owned()))?;
    let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty() && *segment != ".").collect();
    match segments.iter().any(|segment| *segment == ".." || segment.contains('\0')) {
        true => Err(PathError::Segment(path.to_owned())),
        false => Ok(segments),
    }
}

/// The target of a link at absolute `link`, written relative: an absolute `target` leaves the root of a server that lays
/// trees out below a directory. A relative target is returned as it is.
pub fn relative_link(link: &str, target: &str) -> String {
    let Some(rest) = target.strip_prefix('/') else { return target.to_owned() };
    let depth = link.split('/').filter(|segment| !segment.is_empty() && *segment != ".").count().saturating_sub(1);
    let mut text = "../".repeat(depth);
    text.push_str(rest.trim_start_matches('/'));
    match text.is_empty() {
        true => ".".to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_become_relative() {
        for (link, target, want) in [
            ("/lib", "usr/lib", "usr/lib"),
            ("/usr/bin/cc", "/etc/alternatives/cc", "../../etc/alternatives/cc"),
            ("/cc", "/usr/bin/gcc", "usr/bin/gcc"),
            ("/a/b", "/", "../"),
            ("/a", "/", "."),
        ] {
            assert_eq!(relative_link(link, target), want, "{link} -> {target}");
        }
    }

    #[test]
    fn segments_are_single_names() {
        assert_eq!(normalise_segments("//usr/./bin/"), Ok(vec!["usr", "bin"]));
        assert!(normalise_segments("usr").is_err());
        assert!(normalise_segments("/usr/../bin").is_err());
    }
}
