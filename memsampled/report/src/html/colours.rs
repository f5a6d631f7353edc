//! The colours of layers: Okabe and Ito's, which can be told apart without colour vision, and darker ones of them.

/// Colours of layers, opaque. Neighbours differ in lightness, and lines between layers and labels tell them apart
/// without colour.
const LAYERS: [&str; 11] = [
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#004C77",
    "#B3B000", "#006B4E", "#8A5276",
];
/// The layer of all others.
const OTHER: &str = "#8C8C8C";
/// What went wrong.
pub(super) const ALARM: &str = "#D55E00";
/// A number of which there is one.
pub(super) const ONE: &str = "#0072B2";
/// A part of it.
pub(super) const PART: &str = "#56B4E9";

/// Returns the colour of a layer, of which the last one is of all others.
pub(super) fn layer(index: usize, layers: usize) -> &'static str {
    if index + 1 == layers { OTHER } else { LAYERS.get(index % LAYERS.len()).unwrap_or(&OTHER) }
}
