//! The tree of contexts: a node for each, which keeps its parent alive, and never its children.
//!
//! Nodes are counted, but not by `Arc`: a scope's list of children must be able to ask a node that it
//! does not own whether it still lives (`try_retain`), and a chain of any length must be freed
//! without recursion. Both are simple where count and memory are one's own.
//!
//! N1. A node's memory stays while `refs` is not 0. Who takes it to 0 takes the node off its parent's
//!     list, and frees it.
//! N2. `above` is an ancestor, and so alive as long as the node is: the chain of `parent`s keeps it.
//!
//! Elsewhere: the part of a node that ends (`scope`).

use std::any::{Any, TypeId};
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Context;
use super::scope::Scope;

/// More references than this are a leak in a loop; the count must not wrap. As in `Arc`.
const REFS_MAX: usize = usize::MAX / 2;

/// A context that was made from another.
pub(super) struct Node {
    /// N1.
    refs: AtomicUsize,
    parent: Context,
    /// The nearest ancestor that can end. None: it never ends by an ancestor (N2).
    above: Option<NonNull<Node>>,
    /// The earliest deadline of this node and its ancestors.
    pub(super) deadline_ns: u64,
    pub(super) kind: Kind,
}

/// What a node adds to its parent.
pub(super) enum Kind {
    /// A value, found by its type.
    Value {
        value: Arc<dyn Any + Send + Sync>,
        type_name: &'static str,
    },
    /// An end to the ends from above.
    WithoutCancel,
    /// A way to end.
    Scope(Scope),
}

/// Keeps a node alive.
pub(super) struct NodeRef(NonNull<Node>);

// As for `Context`.
impl UnwindSafe for NodeRef {}
impl RefUnwindSafe for NodeRef {}

// SAFETY: a node is used through atomics, `Sync` parts, and a link that its parent's lock guards; a
// value in it is `Send` and `Sync`. The last reference frees it on any thread.
unsafe impl Send for NodeRef {}
// SAFETY: as above.
unsafe impl Sync for NodeRef {}

impl NodeRef {
    /// A node below `parent`, of the kind that `kind` makes for its address.
    pub(super) fn new(
        parent: Context,
        deadline_ns: u64,
        kind: impl FnOnce(NonNull<Node>) -> Kind,
    ) -> NodeRef {
        let mut memory = Box::<Node>::new_uninit();
        let address = NonNull::from(&mut *memory).cast();
        let kind = kind(address);
        let above = match kind {
            Kind::WithoutCancel => None,
            _ => parent.nearest().map(NonNull::from),
        };
        memory.write(Node {
            refs: AtomicUsize::new(1),
            parent,
            above,
            deadline_ns,
            kind,
        });
        // Freed as the box it was, by the last reference.
        mem::forget(memory);
        NodeRef(address)
    }

    /// Another reference to a node that is known to live.
    pub(super) fn of(node: &Node) -> NodeRef {
        if node.refs.fetch_add(1, Ordering::Relaxed) > REFS_MAX {
            std::process::abort();
        }
        NodeRef(NonNull::from(node))
    }

    /// A reference to a node of which only the memory is known to be there; none if its last one is
    /// gone.
    ///
    /// # Safety
    ///
    /// The node cannot be freed during the call.
    pub(super) unsafe fn try_retain(node: NonNull<Node>) -> Option<NodeRef> {
        // SAFETY: the memory is there (the caller's word).
        let refs = unsafe { &node.as_ref().refs };
        let more = |refs: usize| (refs != 0).then_some(refs + 1);
        refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
            .then_some(NodeRef(node))
    }

    /// Gives the reference away, to be had back with [`from_raw`](Self::from_raw).
    pub(super) fn into_raw(self) -> NonNull<Node> {
        mem::ManuallyDrop::new(self).0
    }

    /// # Safety
    ///
    /// The address came from [`into_raw`](Self::into_raw), and is used once.
    pub(super) unsafe fn from_raw(node: NonNull<Node>) -> NodeRef {
        NodeRef(node)
    }
}

impl Node {
    pub(super) fn parent(&self) -> &Context {
        &self.parent
    }

    /// The nearest ancestor that can end.
    pub(super) fn above(&self) -> Option<&Node> {
        // SAFETY: alive as long as this node is (N2).
        self.above.map(|above| unsafe { above.as_ref() })
    }

    /// The nearest of the node and its ancestors that can end.
    pub(super) fn nearest(&self) -> Option<&Node> {
        match self.kind {
            Kind::Scope(_) => Some(self),
            _ => self.above(),
        }
    }

    /// The value of type `T` that this node adds.
    pub(super) fn own_value<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        match &self.kind {
            Kind::Value { value, .. } if (**value).type_id() == TypeId::of::<T>() => {
                Arc::clone(value).downcast().ok()
            }
            _ => None,
        }
    }
}

impl Deref for NodeRef {
    type Target = Node;

    #[inline]
    fn deref(&self) -> &Node {
        // SAFETY: the reference keeps the node (N1), of which nobody has a `&mut` before its end.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for NodeRef {
    fn clone(&self) -> NodeRef {
        NodeRef::of(self)
    }
}

impl Drop for NodeRef {
    fn drop(&mut self) {
        let mut node = self.0;
        // A loop, for the parent's last reference may be the one in this node, and so on upward.
        loop {
            // SAFETY: our reference keeps the node until the count goes down (N1).
            if unsafe { &node.as_ref().refs }.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            // SAFETY: the count was taken to 0 here, so the memory stays until the next lines.
            let last = unsafe { node.as_ref() };
            // What others did with the node comes before its end. A fence would do too, but that
            // ThreadSanitizer does not know it.
            last.refs.load(Ordering::Acquire);
            last.leave_parent();
            // SAFETY: `new` made it as a box. Nobody can find the node any more: not by a reference, nor
            // on its parent's list, and children would have kept it (N1).
            let mut node_box = unsafe { Box::from_raw(node.as_ptr()) };
            let parent = mem::replace(&mut node_box.parent, Context::BACKGROUND);
            // May drop a value of the user's, and panic: then `parent` is dropped by the unwind.
            drop(node_box);
            let Some(parent) = parent.into_node() else {
                return;
            };
            node = parent.into_raw();
        }
    }
}

impl fmt::Debug for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRef").finish_non_exhaustive()
    }
}
