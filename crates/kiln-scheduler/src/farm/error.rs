//! Why a call was not answered, and what the caller is told. Knows no message.

use kiln_proto::PROTOCOL;
use tonic::Status;

/// Why a call was not answered. Refusals of grants are answers, not errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// A field is empty, too long or unreadable.
    #[error("{0}")]
    Bad(String),
    /// Another live node has the name.
    #[error("a live node named `{name}` is at {address} already; names are unique in a farm")]
    NameTaken {
        /// The name.
        name: String,
        /// Where the other is.
        address: String,
    },
    /// The caller speaks another version of the protocol.
    #[error("speaks protocol {theirs}, this scheduler speaks {PROTOCOL}: update the older of the two")]
    OtherProtocol {
        /// What the caller speaks.
        theirs: u32,
    },
    /// The registration is not known (any more): register again.
    #[error("not registered here; register again")]
    NotRegistered,
    /// A bound of this scheduler is reached.
    #[error("too many {0} at once")]
    TooMany(&'static str),
    /// This machine gives no random numbers: no grant could be signed.
    #[error("no random numbers: {0}")]
    NoRandomness(String),
    /// The scheduler is stopping.
    #[error("this scheduler is stopping")]
    Stopping,
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Status {
        let text = error.to_string();
        match error {
            CallError::Bad(_) => Status::invalid_argument(text),
            CallError::NameTaken { .. } => Status::already_exists(text),
            CallError::OtherProtocol { .. } => Status::failed_precondition(text),
            CallError::NotRegistered => Status::not_found(text),
            CallError::TooMany(_) => Status::resource_exhausted(text),
            CallError::NoRandomness(_) => Status::internal(text),
            CallError::Stopping => Status::unavailable(text),
        }
    }
}

/// Whether the two sides understand each other.
///
/// # Errors
/// [`CallError::OtherProtocol`].
pub(crate) fn same_protocol(theirs: u32) -> Result<(), CallError> {
    if theirs == PROTOCOL { Ok(()) } else { Err(CallError::OtherProtocol { theirs }) }
}

/// A name from the wire: not empty, not too long, and fit for a log line.
///
/// # Errors
/// [`CallError::Bad`], naming the field.
pub(crate) fn checked(field: &str, text: &str, max: usize) -> Result<(), CallError> {
    if text.is_empty() {
        return Err(CallError::Bad(format!("{field} is empty")));
    }
    if text.len() > max {
        return Err(CallError::Bad(format!("{field} is longer than {max} bytes")));
    }
    match text.chars().any(char::is_control) {
        true => Err(CallError::Bad(format!("{field} holds control characters"))),
        false => Ok(()),
    }
}

/// A text of a peer about itself, cut and cleaned for showing.
pub(crate) fn shown(text: &str, max: usize) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(max).map(clean).collect()
}
