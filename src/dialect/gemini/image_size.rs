//! How Google is told the size of an image: by a ratio, and by a step of resolution.

use crate::canon::Dimensions;

/// An aspect ratio that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ratio(u32, u32, &'static str);

/// Those of Gemini's image models.
pub(super) const GEMINI: &[Ratio] = &[
    Ratio(1, 1, "1:1"),
    Ratio(2, 3, "2:3"),
    Ratio(3, 2, "3:2"),
    Ratio(3, 4, "3:4"),
    Ratio(4, 3, "4:3"),
    Ratio(4, 5, "4:5"),
    Ratio(5, 4, "5:4"),
    Ratio(9, 16, "9:16"),
    Ratio(16, 9, "16:9"),
    Ratio(21, 9, "21:9"),
];

/// Those of Imagen.
pub(super) const IMAGEN: &[Ratio] =
    &[Ratio(1, 1, "1:1"), Ratio(3, 4, "3:4"), Ratio(4, 3, "4:3"), Ratio(9, 16, "9:16"), Ratio(16, 9, "16:9")];

/// The ratio that comes nearest.
pub(super) fn nearest(size: Dimensions, ratios: &'static [Ratio]) -> Option<&'static str> {
    let wanted = f64::from(size.width).ln() - f64::from(size.height).ln();
    let distance = |Ratio(width, height, _): &Ratio| (f64::from(*width).ln() - f64::from(*height).ln() - wanted).abs();
    let nearest = ratios.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
    nearest.map(|Ratio(_, _, name)| *name)
}

/// The step beyond the first one, `1K`, that the longer side asks for; a wide image of `1K` has about
/// 1,400 pixels there.
pub(super) fn resolution(size: Dimensions) -> Option<&'static str> {
    match size.width.max(size.height) {
        ..=1792 => None,
        1793..=3071 => Some("2K"),
        3072.. => Some("4K"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(width: u32, height: u32, ratios: &'static [Ratio]) -> &'static str {
        nearest(Dimensions { width, height }, ratios).unwrap()
    }

    #[test]
    fn a_size_is_said_by_the_nearest_ratio() {
        for (width, height, gemini, imagen) in [
            (1024, 1024, "1:1", "1:1"),
            (1536, 1024, "3:2", "4:3"),
            (1024, 1536, "2:3", "3:4"),
            (1792, 1024, "16:9", "16:9"),
            (1024, 1792, "9:16", "9:16"),
            (1536, 864, "16:9", "16:9"),
            (3000, 1000, "21:9", "16:9"),
            (1280, 1024, "5:4", "4:3"),
            (16, 9, "16:9", "16:9"),
        ] {
            assert_eq!(
                (ratio(width, height, GEMINI), ratio(width, height, IMAGEN)),
                (gemini, imagen),
                "{width}x{height}"
            );
        }
    }

    #[test]
    fn the_longer_side_tells_the_resolution() {
        let of = |width, height| resolution(Dimensions { width, height });
        assert_eq!([of(1024, 1792), of(16, 9)], [None, None]);
        assert_eq!([of(2048, 2048), of(1080, 1920)], [Some("2K"); 2]);
        assert_eq!([of(3840, 2160), of(4096, 4096)], [Some("4K"); 2]);
    }
}
