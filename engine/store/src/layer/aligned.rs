//! Memory for writes past the page cache.

/// Where the kernel wants memory to begin that is written past the page cache, and how long it
/// wants it; [`crate::LayerIngest`] asks for such writes only where this is enough.
pub(crate) const BLOCK: usize = 4096;

/// Bytes that begin at a block's border in memory.
#[derive(Debug, Default)]
pub(super) struct Aligned {
    /// Longer than asked for, so that there is a border in it. Never resized: it does not move.
    memory: Vec<u8>,
    start: usize,
    length: usize,
    filled: usize,
}

impl Aligned {
    /// Room for `length` bytes, all zero; none of them counts as filled.
    pub(super) fn new(length: usize) -> Self {
        let memory = vec![0; length + BLOCK];
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { memory, start, length, filled: 0 }
    }

    /// All the room.
    pub(super) fn whole_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }

    /// Says how much of it is filled.
    pub(super) fn set_filled(&mut self, filled: usize) {
        self.filled = filled.min(self.length);
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.filled]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_border_wherever_it_goes() {
        for length in [1, BLOCK, 3 * BLOCK + 5] {
            let mut buffer = Box::new(Aligned::new(length));
            assert_eq!(buffer.whole_mut().len(), length);
            buffer.set_filled(length);
            let moved = *buffer;
            assert_eq!(moved.as_ptr().addr() % BLOCK, 0);
            assert_eq!(moved.len(), length);
        }
        assert!(Aligned::default().is_empty());
    }
}
