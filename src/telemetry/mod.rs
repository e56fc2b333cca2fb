//! What a node tells of itself: the log and the metrics.

mod label;
mod log_file;
pub mod logging;
pub mod metrics;

pub use logging::Logging;
pub use metrics::{Metrics, Scrape};
