//! What is drawn on a terminal while something is under way.
//!
//! [`Live`] keeps a few rows at the bottom of the terminal up to date; what is printed above them
//! stays. [`Line`] is a row in the making, [`bar`] the bars, rates and times in it. Nothing here
//! knows what is shown. Where there is no terminal there is no [`Live`], and nothing is drawn.

pub(crate) mod bar;
mod line;
mod live;

pub(crate) use line::{Line, Style, clean};
pub(crate) use live::{Live, Stream};
