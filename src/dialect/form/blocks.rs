//! Where contents are kept.

use bytes::{Bytes, BytesMut};

/// The size of a block. Many parts share one, and a large part has many: no byte moves once it is in,
/// which a buffer that grows would do, needing twice the memory while it does.
const BLOCK_BYTES: usize = 256 * 1024;

/// Contents, one behind the other.
#[derive(Default)]
pub(super) struct Blocks {
    /// The block with room, without what was taken out of it.
    open: BytesMut,
    /// The slices of the current content that lie in blocks before.
    full: Vec<Bytes>,
    length: usize,
}

impl Blocks {
    /// Adds to the current content.
    pub(super) fn extend(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len();
        while !bytes.is_empty() {
            let room = self.open.capacity() - self.open.len();
            if room == 0 {
                self.close();
                self.open = BytesMut::with_capacity(BLOCK_BYTES);
                continue;
            }
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.open.extend_from_slice(now);
            bytes = later;
        }
    }

    /// How long the current content is, in bytes.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The current content; the next one begins.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.close();
        self.length = 0;
        std::mem::take(&mut self.full)
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.full.push(self.open.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_content_is_cut_into_blocks_and_none_of_them_moves() {
        let mut blocks = Blocks::default();
        blocks.extend(b"a");
        let place = blocks.open.as_ptr();
        for _ in 0..BLOCK_BYTES {
            blocks.extend(b"bcd");
        }
        assert_eq!(blocks.len(), 3 * BLOCK_BYTES + 1);
        let content = blocks.take();
        let lengths: Vec<usize> = content.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [BLOCK_BYTES, BLOCK_BYTES, BLOCK_BYTES, 1]);
        assert_eq!(content[0].as_ptr(), place);
        assert_eq!((blocks.len(), blocks.take().len()), (0, 0));
    }

    #[test]
    fn small_contents_share_a_block() {
        let mut blocks = Blocks::default();
        blocks.extend(b"first");
        let first = blocks.take();
        blocks.extend(b"second");
        let second = blocks.take();
        assert_eq!((first.concat(), second.concat()), (b"first".to_vec(), b"second".to_vec()));
        assert_eq!(second[0].as_ptr(), first[0].as_ptr().wrapping_add(5));
    }
}
