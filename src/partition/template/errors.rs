//! Why a text is no prefix, and why a prefix has no object: words for whoever wrote it.

use super::super::pattern::PatternError;
use super::{EVALUATED_CHARS_MAX, TEMPLATE_CHARS_MAX};

/// Why a text is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// More characters than Firehose takes.
    #[error("it has {0} characters, at most {TEMPLATE_CHARS_MAX} are possible")]
    TooLong(usize),
    /// `!{` without `}`.
    #[error("'!{{' begins an expression, and its '}}' is missing: write !{{namespace:value}}")]
    Unterminated,
    /// An expression without a colon.
    #[error("'!{{{0}}}' has no colon: write !{{namespace:value}}, such as !{{timestamp:yyyy}}")]
    NoColon(String),
    /// A namespace that does not exist.
    #[error(
        "unknown namespace '{0}': write timestamp, event, firehose, lakehose, \
         partitionKeyFromQuery or partitionKeyFromLambda"
    )]
    Namespace(String),
    /// What only records with a place have, outside their prefix.
    #[error("!{{{0}}} has a value in the prefix of delivered records only: remove it here")]
    OnlyInPrefix(String),
    /// A value that the namespace does not have.
    #[error("unknown expression '!{{{namespace}:{value}}}': write {allowed}")]
    Value {
        /// The namespace.
        namespace: &'static str,
        /// The value.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// The error type outside an error prefix.
    #[error("!{{firehose:error-output-type}} has a value in error_prefix only: remove it here")]
    OnlyInErrorPrefix,
    /// An error prefix with expressions, but without the error type.
    #[error(
        "it has expressions, so it also needs !{{firehose:error-output-type}}: add it as a folder"
    )]
    ErrorOutputTypeMissing,
    /// A time pattern that cannot be read.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// `/` at the start.
    #[error("it begins with '/': remove the slash, keys have none there")]
    LeadingSlash,
    /// `//`.
    #[error("it has an empty folder: write one '/' in place of '//'")]
    EmptyFolder,
    /// `.` or `..`.
    #[error("it has a folder '{0}', which stores refuse: write the folder's own name")]
    DotFolder(String),
    /// A control character.
    #[error("it has a control character ({0:?}): remove it")]
    Control(char),
    /// A folder without a name or value around its `=`.
    #[error("the folder '{0}' is no partition: write name=value with both")]
    HalfPartition(String),
    /// A folder whose name is no plain text.
    #[error("the name before '=' in a folder comes from an expression: write the name itself")]
    PartitionName,
    /// Two folders with one name.
    #[error("two folders are named '{0}=': every partition needs a name of its own")]
    PartitionTwice(String),
}

/// Why a template gives no prefix for an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// More characters than Firehose takes.
    #[error(
        "the evaluated prefix has {0} characters, at most {EVALUATED_CHARS_MAX} are possible: shorten it or its values"
    )]
    TooLong(usize),
    /// The template asks for the error type, and there is no error.
    #[error("the prefix has !{{firehose:error-output-type}} and the object has no error type")]
    NoErrorOutputType,
    /// The template has slots, and the group has no values for them.
    #[error("the records have no place in the prefix")]
    NoPlace,
}
