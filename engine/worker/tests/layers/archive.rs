//! Tar archives made by hand, good and bad.

/// A tar in the making.
#[derive(Default, Clone)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
}

/// One header and its data.
#[derive(Clone)]
pub(crate) struct Member {
    name: Vec<u8>,
    flag: u8,
    link: Vec<u8>,
    mode: u32,
    ids: (u64, u64),
    mtime: u64,
    size: Option<u64>,
    device: (u32, u32),
    data: Vec<u8>,
    pax: Vec<u8>,
}

impl Archive {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[expect(clippy::needless_pass_by_value, reason = "members are made where they are added")]
    pub(crate) fn with(mut self, member: Member) -> Self {
        self.add(&member);
        self
    }

    pub(crate) fn add(&mut self, member: &Member) {
        if !member.pax.is_empty() {
            self.block(&Member::new("pax", b'x').data(&member.pax));
        }
        self.block(member);
    }

    /// With the two blocks of zeros.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend([0; 1024]);
        self.bytes
    }

    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.bytes
    }

    fn block(&mut self, member: &Member) {
        self.bytes.extend(member.header());
        self.bytes.extend_from_slice(&member.data);
        let padded = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(padded, 0);
    }
}

impl Member {
    pub(crate) fn new(name: impl AsRef<[u8]>, flag: u8) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            flag,
            link: Vec::new(),
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            ids: (0, 0),
            mtime: 1_700_000_000,
            size: None,
            device: (0, 0),
            data: Vec::new(),
            pax: Vec::new(),
        }
    }

    pub(crate) fn data(mut self, data: impl AsRef<[u8]>) -> Self {
        self.data = data.as_ref().to_vec();
        self
    }

    pub(crate) fn link(mut self, link: impl AsRef<[u8]>) -> Self {
        self.link = link.as_ref().to_vec();
        self
    }

    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    pub(crate) fn ids(mut self, uid: u64, gid: u64) -> Self {
        self.ids = (uid, gid);
        self
    }

    pub(crate) fn mtime(mut self, mtime: u64) -> Self {
        self.mtime = mtime;
        self
    }

    pub(crate) fn size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    pub(crate) fn device(mut self, major: u32, minor: u32) -> Self {
        self.device = (major, minor);
        self
    }

    /// A pax record.
    pub(crate) fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        let body = [key.as_bytes(), b"=", value.as_ref(), b"\n"].concat();
        let mut length = body.len() + 2;
        while length != format!("{length} ").len() + body.len() {
            length = format!("{length} ").len() + body.len();
        }
        self.pax.extend(format!("{length} ").into_bytes());
        self.pax.extend(body);
        self
    }

    fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, &number(self.ids.0, 8));
        put(116, &number(self.ids.1, 8));
        put(124, &number(self.size.unwrap_or(self.data.len() as u64), 12));
        put(136, &number(self.mtime, 12));
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}\0", self.device.0).as_bytes());
        put(337, format!("{:07o}\0", self.device.1).as_bytes());
        put(148, b"        ");
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

/// Octal where it fits, base-256 where not.
fn number(value: u64, length: usize) -> Vec<u8> {
    let digits = format!("{value:0width$o}\0", width = length - 1);
    if digits.len() == length {
        return digits.into_bytes();
    }
    let mut bytes = vec![0; length - 8];
    bytes.extend(value.to_be_bytes());
    bytes[0] |= 0x80;
    bytes
}

pub(crate) fn file(name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Member {
    Member::new(name, b'0').data(data)
}

pub(crate) fn directory(name: impl AsRef<[u8]>) -> Member {
    Member::new(name, b'5')
}

pub(crate) fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Member {
    Member::new(name, b'2').link(target).mode(0o777)
}

pub(crate) fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Member {
    Member::new(name, b'1').link(target)
}

pub(crate) fn whiteout(name: impl AsRef<[u8]>) -> Member {
    Member::new(name, b'0')
}
