//! Servers in the tree, by which loops are found.

use std::fmt::Write as _;

/// Names a server, at random, as long as it runs. 0 names none: such a server does not take part in looking for loops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct NodeId(pub u64);

/// The deepest tree.
pub(super) const PATH_MAX: usize = 64;

/// What stands in the name of a slave, before its node.
const MARK: &str = " [node ";

impl NodeId {
    /// What a slave adds to its name, so that a master of this kind knows it.
    pub(super) fn mark(self) -> String {
        if self == Self::default() { String::new() } else { format!("{MARK}{:016x}]", self.0) }
    }

    /// The node in the name of a slave.
    pub(super) fn find(name: &[u8]) -> Option<Self> {
        let at = memchr::memmem::find(name, MARK.as_bytes())? + MARK.len();
        let (node, rest) = name.get(at..)?.split_at_checked(16)?;
        rest.starts_with(b"]").then(|| Self::parse(node))?
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let is_hex = text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(text).ok().filter(|_| is_hex)?;
        let node = u64::from_str_radix(text, 16).ok()?;
        (node != 0).then_some(Self(node))
    }
}

/// The servers above one, its master first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Path(Vec<NodeId>);

impl Path {
    /// `None` if it is none, or too long.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let nodes = text.split(|&b| b == b' ').take(PATH_MAX + 1).map(NodeId::parse);
        let nodes: Vec<_> = nodes.collect::<Option<_>>()?;
        (nodes.len() <= PATH_MAX).then_some(Self(nodes))
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.0.contains(&node)
    }

    pub(super) fn first(&self) -> Option<NodeId> {
        self.0.first().copied()
    }

    /// The text of the path of a slave of `node`, for which this is the path.
    pub(super) fn below(&self, node: NodeId) -> String {
        let mut text = format!("{:016x}", node.0);
        for node in &self.0 {
            // Writing to a string does not fail.
            let _ = write!(text, " {:016x}", node.0);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_of_this_kind_is_known_by_its_name() {
        let check = |name: &str, node| assert_eq!(NodeId::find(name.as_bytes()), node, "{name}");
        check(&format!("clacksd 1.0{} in interclacks client mode", NodeId(0xab).mark()), Some(NodeId(0xab)));
        check("x [node ffffffffffffffff]", Some(NodeId(u64::MAX)));
        for name in [
            "clacksd",
            "x [node ",
            "x [node 1]",
            "x [node 0000000000000000]",
            "x [node 00000000000000ab",
            "x [node +0000000000000ab]",
            "x [node 00000000000000abc]",
        ] {
            check(name, None);
        }
        assert_eq!(NodeId::default().mark(), "");
    }

    #[test]
    fn a_path_has_an_end() {
        let path = Path::parse(b"00000000000000aa 00000000000000bb").unwrap();
        assert!(path.contains(NodeId(0xaa)) && path.contains(NodeId(0xbb)) && !path.contains(NodeId(1)));
        assert_eq!(path.first(), Some(NodeId(0xaa)));
        assert_eq!(path.below(NodeId(1)), "0000000000000001 00000000000000aa 00000000000000bb");
        for wrong in ["", " ", "aa", "00000000000000aa ", "00000000000000aa  00000000000000bb"] {
            assert_eq!(Path::parse(wrong.as_bytes()), None, "{wrong:?}");
        }
        let long = |n| vec!["00000000000000aa"; n].join(" ");
        assert!(Path::parse(long(PATH_MAX).as_bytes()).is_some());
        assert_eq!(Path::parse(long(PATH_MAX + 1).as_bytes()), None);
    }
}
