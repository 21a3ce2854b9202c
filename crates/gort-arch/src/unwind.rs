//! Walking a stack of which little is certain: a copy of that of a thread that sleeps in the kernel, or of a context
//! that may be resumed at any moment; and what a signal has interrupted (`interrupted`).
//!
//! Of such a thread the kernel tells two registers, stack pointer and program counter; of such a context the
//! copy may be torn; and at an instruction between two calls the tables may be wrong, as compilers get them right for
//! exceptions. So the unwinder cannot be used: it follows whatever it has read. This one reads the
//! same tables (`.eh_frame`; DWARF 5, section 6.4, as the x86-64 ABI has them), knows of each register whether it
//! is known, and reads the stack through [`Memory`] alone: it cannot fault, whatever it finds.
//!
//! Most frames are found by the stack pointer. Where one needs a frame pointer that nobody has saved yet
//! (std is built with them), the frame's end is looked for: the first place above that holds a return
//! address behind a call of this very function (`Call::Certain`), or, if there is none, behind a call whose
//! target cannot be told from the code.
//!
//! Not understood, so that a walk ends there: rules that are expressions, but for a frame's address where those of the
//! linker's stubs do, and for the frames of signal handlers; and the 64-bit form of the tables.
//!
//! Takes no lock and does not allocate (glibc 2.35 and later). Checked by `tests/trace.rs`.

use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr;

use crate::trace::Walk;

mod tables;

use tables::{Bytes, Cfa, Function, Row, Rule};

/// What a walk reads of a stack.
pub(crate) trait Memory {
    /// The word at an address. `None`: it is not known, or there is none.
    fn word(&mut self, address: usize) -> Option<usize>;

    /// Where that ends which can be looked through for a frame's end; `None`: it is not to be looked for.
    fn end(&self) -> Option<usize>;

    /// The walk goes on at this stack pointer, on another stack perhaps.
    fn enter(&mut self, sp: usize);
}

unsafe extern "C" {
    // Not called: see `unwinds`.
    fn _Unwind_RaiseException();
    fn _Unwind_Resume();
    fn _Unwind_Resume_or_Rethrow();
    fn _Unwind_ForcedUnwind();
}

/// Registers by their DWARF numbers.
const RBP: usize = 6;
const RSP: usize = 7;
const RETURN_ADDRESS: usize = 16;
const REGISTERS: usize = 17;

/// The places of the registers in the kernel's context of a signal, by their DWARF numbers.
const IN_CONTEXT: [c_int; REGISTERS] = [
    libc::REG_RAX,
    libc::REG_RDX,
    libc::REG_RCX,
    libc::REG_RBX,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_RBP,
    libc::REG_RSP,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
    libc::REG_RIP,
];

/// Frames of signal handlers that a walk steps over: as many as can be on one thread, and no end of them in memory
/// that only looks like it.
const SIGNALS_MAX: u8 = 16;

/// A copy of the lowest part of a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy<'a> {
    /// Where its first word was.
    pub(crate) sp: usize,
    pub(crate) words: &'a [usize],
}

impl Memory for Copy<'_> {
    fn word(&mut self, address: usize) -> Option<usize> {
        let offset = address.checked_sub(self.sp)?;
        if !offset.is_multiple_of(size_of::<usize>()) {
            return None;
        }
        self.words.get(offset / size_of::<usize>()).copied()
    }

    fn end(&self) -> Option<usize> {
        Some(self.sp + size_of_val(self.words))
    }

    fn enter(&mut self, _sp: usize) {}
}

/// Walks the copy from a thread's program counter on.
pub(crate) fn walk(pc: usize, copy: Copy<'_>, addresses: &mut [usize]) -> Walk {
    let mut frame = Frame::new(pc);
    frame.registers[RSP] = Some(copy.sp);
    frame.walk(copy, addresses)
}

/// Walks the copy of the stack of a context that the switch has left: all registers that count are on it, as `switch`
/// in `x86_64.rs` pushes them.
pub(crate) fn walk_saved(copy: Copy<'_>, addresses: &mut [usize]) -> Walk {
    const R15_TO_RBP: [usize; 6] = [15, 14, 13, 12, 3, RBP];
    let Some((&[r15, r14, r13, r12, rbx, rbp, pc], _)) = copy.words.split_first_chunk() else {
        return Walk {
            len: 0,
            is_cut: true,
        };
    };
    let mut frame = Frame::new(pc);
    for (register, value) in R15_TO_RBP.into_iter().zip([r15, r14, r13, r12, rbx, rbp]) {
        frame.registers[register] = Some(value);
    }
    frame.registers[RSP] = Some(copy.sp + 7 * size_of::<usize>());
    frame.walk(copy, addresses)
}

/// What is known of a frame at a call.
pub(crate) struct Frame {
    /// Behind the call.
    pc: usize,
    registers: [Option<usize>; REGISTERS],
    /// It was interrupted, or somebody above it was.
    is_interrupted: bool,
    signals_left: u8,
}

enum Step {
    /// The frame is the caller's now.
    Caller,
    Outermost,
    /// It cannot be said who the caller is, or it is not in the copy.
    Unknown,
}

/// Whether a function is one of an unwinder that may be at work on it: a panic, or its way on from a destructor. There
/// the registers that its frame has saved, which belong to its callers, are replaced by those of the frame where
/// the program goes on. Whoever steps over it meanwhile reads the wrong stack.
fn unwinds(function: &Function) -> bool {
    let unwinders = [
        _Unwind_RaiseException as *const (),
        _Unwind_Resume as *const (),
        _Unwind_Resume_or_Rethrow as *const (),
        _Unwind_ForcedUnwind as *const (),
    ];
    unwinders.contains(&(function.start as *const ()))
}

impl Frame {
    fn new(pc: usize) -> Frame {
        Frame {
            pc,
            registers: [None; REGISTERS],
            is_interrupted: false,
            signals_left: SIGNALS_MAX,
        }
    }

    /// Interrupted with these registers, as the kernel has them. The address is that of the next instruction's second
    /// byte, as if it were a call's.
    pub(crate) fn interrupted(registers: &[libc::greg_t]) -> Frame {
        let mut frame = Frame::new((registers[libc::REG_RIP as usize] as usize).wrapping_add(1));
        for (register, at) in frame.registers.iter_mut().zip(IN_CONTEXT) {
            *register = Some(registers[at as usize] as usize);
        }
        frame.is_interrupted = true;
        frame
    }

    /// Writes where it is, and where all its callers are that are found.
    fn walk(self, memory: impl Memory, addresses: &mut [usize]) -> Walk {
        Walk::of(addresses, |visit| self.each(memory, visit))
    }

    /// Calls `visit` with where it is, and where all its callers are that are found, until that answers false. Whether
    /// there are more.
    pub(crate) fn each(
        mut self,
        mut memory: impl Memory,
        visit: &mut dyn FnMut(usize) -> bool,
    ) -> bool {
        loop {
            if !visit(self.pc) {
                return true;
            }
            match self.step_out(&mut memory) {
                Step::Caller => {}
                Step::Outermost => return false,
                Step::Unknown => return true,
            }
        }
    }

    /// Becomes the caller's frame, if it has one and all goes well.
    fn step_out(&mut self, memory: &mut impl Memory) -> Step {
        // The byte before a return address belongs to the call, and maybe alone to its function.
        let Some(function) = Function::at(self.pc.wrapping_sub(1)) else {
            return Step::Unknown;
        };
        if self.is_interrupted && unwinds(&function) {
            return Step::Unknown;
        }
        let Some(row) = function.row() else {
            return Step::Unknown;
        };
        if row.is_signals {
            return match self.step_over_signal(memory) {
                Some(()) => Step::Caller,
                None => Step::Unknown,
            };
        }
        let Some(cfa) = self.canonical_frame_address(&function, &row, memory) else {
            return Step::Unknown;
        };
        if matches!(row.rules[RETURN_ADDRESS], Rule::Lost) {
            return Step::Outermost;
        }
        let inner = self.registers;
        for (register, rule) in self.registers.iter_mut().zip(row.rules) {
            match rule {
                Rule::Same => {}
                Rule::Lost => *register = None,
                Rule::SavedAt(offset) => *register = memory.word(cfa.wrapping_add_signed(offset)),
                Rule::Is(offset) => *register = Some(cfa.wrapping_add_signed(offset)),
                Rule::In(other) => *register = inner[other],
            }
        }
        self.registers[RSP] = Some(cfa);
        match self.registers[RETURN_ADDRESS].take() {
            Some(0) => Step::Outermost,
            Some(pc) => {
                self.pc = pc;
                Step::Caller
            }
            None => Step::Unknown,
        }
    }

    /// A handler returns here: becomes the frame that the signal has interrupted.
    fn step_over_signal(&mut self, memory: &mut impl Memory) -> Option<()> {
        self.signals_left = self.signals_left.checked_sub(1)?;
        // The kernel has put its context below what the handler returns to.
        let context = self.registers[RSP]?;
        let registers = context.wrapping_add(offset_of!(libc::ucontext_t, uc_mcontext.gregs));
        for (register, at) in self.registers.iter_mut().zip(IN_CONTEXT) {
            *register = memory.word(registers.wrapping_add(at as usize * size_of::<usize>()));
        }
        self.pc = self.registers[RETURN_ADDRESS].take()?.wrapping_add(1);
        self.is_interrupted = true;
        memory.enter(self.registers[RSP]?);
        Some(())
    }

    /// The stack pointer of the caller at the call. A frame pointer that is found on the way is kept.
    fn canonical_frame_address(
        &mut self,
        function: &Function,
        row: &Row,
        memory: &mut impl Memory,
    ) -> Option<usize> {
        let sp = self.registers[RSP]?;
        let (register, offset) = match row.cfa? {
            Cfa::Register(register, offset) => (register, offset),
            Cfa::Expression(bytes) => return self.evaluate(bytes).filter(|cfa| *cfa > sp),
        };
        let cfa = match self.registers[register] {
            Some(value) => value.wrapping_add_signed(offset),
            None if register == RBP => {
                let cfa = find_end(function, sp, memory)?;
                self.registers[RBP] = Some(cfa.wrapping_add_signed(-offset));
                cfa
            }
            None => return None,
        };
        // Stacks grow down: no frame is empty.
        let is_inside = memory.end().is_none_or(|end| cfa <= end);
        (cfa > sp && is_inside).then_some(cfa)
    }

    /// What an expression says (DWARF 5, section 2.5), of those that the linker writes for its stubs: sums and
    /// comparisons of registers.
    fn evaluate(&self, mut bytes: Bytes) -> Option<usize> {
        const DEPTH: usize = 8;
        let (mut stack, mut depth) = ([0_usize; DEPTH], 0_usize);
        while let Some(operation) = bytes.u8() {
            let value = match operation {
                // lit0 to lit31
                0x30..=0x4f => usize::from(operation - 0x30),
                // breg0 to breg16
                0x70..=0x80 => {
                    let register = usize::from(operation - 0x70);
                    let value = match register {
                        RETURN_ADDRESS => self.pc.wrapping_sub(1),
                        _ => self.registers[register]?,
                    };
                    value.wrapping_add_signed(bytes.sleb()?)
                }
                // and, plus, shl, ge
                0x1a | 0x22 | 0x24 | 0x2a => {
                    depth = depth.checked_sub(2)?;
                    let (left, right) = (stack[depth], stack[depth + 1]);
                    match operation {
                        0x1a => left & right,
                        0x22 => left.wrapping_add(right),
                        0x24 => left.checked_shl(right as u32)?,
                        _ => usize::from(left as isize >= right as isize),
                    }
                }
                _ => return None,
            };
            *stack.get_mut(depth)? = value;
            depth += 1;
        }
        depth.checked_sub(1).map(|top| stack[top])
    }
}

/// Looks for the end of `function`'s frame, which begins at `sp`.
fn find_end(function: &Function, sp: usize, memory: &mut impl Memory) -> Option<usize> {
    /// At a call the stack pointer is a multiple of this.
    const ALIGNMENT: usize = 16;
    let ends = (sp / ALIGNMENT + 1..=memory.end()? / ALIGNMENT).map(|end| end * ALIGNMENT);
    let mut first_possible = None;
    for end in ends {
        let Some(return_address) = memory.word(end - size_of::<usize>()) else {
            continue;
        };
        match Call::before(return_address, function.start) {
            Call::Certain => return Some(end),
            Call::Possible => first_possible = first_possible.or(Some(end)),
            Call::None => {}
        }
    }
    first_possible
}

/// Whether the code before an address calls a function.
enum Call {
    /// It does.
    Certain,
    /// It calls what a register or a word of memory says.
    Possible,
    /// It does not, or the address is not one of code.
    None,
}

impl Call {
    fn before(address: usize, function: usize) -> Call {
        let Some(caller) = Function::at(address.wrapping_sub(1)) else {
            return Call::None;
        };
        /// The longest form that is looked at.
        const LEN: usize = 7;
        if address - caller.start < LEN {
            return Call::None;
        }
        // SAFETY: code of a function from its start on, which is mapped while its object is.
        let code: [u8; LEN] = unsafe { ptr::read((address - LEN) as *const [u8; LEN]) };
        match code {
            // call rel32
            [_, _, 0xe8, a, b, c, d] => {
                let target = address.wrapping_add_signed(i32::from_le_bytes([a, b, c, d]) as isize);
                if target == function {
                    Call::Certain
                } else {
                    Call::None
                }
            }
            // call *disp32(%rip), call *disp32(%reg), call *disp8(%reg), call *%reg and call *(%reg)
            [_, 0xff, 0x15 | 0x90..=0x97, ..]
            | [_, _, _, _, 0xff, 0x50..=0x57, _]
            | [_, _, _, _, _, 0xff, 0xd0..=0xd7 | 0x10..=0x13] => Call::Possible,
            _ => Call::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(of: &[u8]) -> Bytes {
        Bytes {
            at: of.as_ptr(),
            len: of.len(),
        }
    }

    #[test]
    fn numbers_are_read_as_the_standard_has_them() {
        for (encoded, value) in [
            (&[2][..], 2),
            (&[0x80, 1], 128),
            (&[0xe5, 0x8e, 0x26], 624485),
        ] {
            assert_eq!(bytes(encoded).uleb(), Some(value));
        }
        for (encoded, value) in [(&[2][..], 2), (&[0x7e], -2), (&[0x80, 0x7f], -128)] {
            assert_eq!(bytes(encoded).sleb(), Some(value));
        }
        assert_eq!(bytes(&[0x80]).uleb(), None, "it does not end");
        assert_eq!(bytes(b"zR\0x").text(), Some(&b"zR"[..]));
        assert_eq!(bytes(b"zR").text(), None);
    }

    /// That of the stubs in `.plt`: `rsp + 8`, and one word more from their 11th byte on.
    #[test]
    fn the_rule_of_the_linkers_stubs_is_reckoned() {
        let rule = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
        for (byte, expected) in [(0, 0x2008), (10, 0x2008), (11, 0x2010), (15, 0x2010)] {
            let mut frame = Frame::new(0x1000 + byte + 1);
            frame.registers[RSP] = Some(0x2000);
            assert_eq!(frame.evaluate(bytes(&rule)), Some(expected));
            frame.registers[RSP] = None;
            assert_eq!(frame.evaluate(bytes(&rule)), None, "of what is not known");
        }
        for nonsense in [&[][..], &[0x22], &[0x30, 0x1a], &[0xff], &[0x30; 9]] {
            assert_eq!(Frame::new(1).evaluate(bytes(nonsense)), None);
        }
    }

    #[test]
    fn nothing_outside_the_copy_is_read() {
        let mut copy = Copy {
            sp: 0x1000,
            words: &[7, 8],
        };
        assert_eq!(copy.word(0x1000), Some(7));
        assert_eq!(copy.word(0x1008), Some(8));
        assert_eq!(copy.word(0x1004), None);
        assert_eq!(copy.word(0x1010), None);
        assert_eq!(copy.word(0xff8), None);
        // Program counters that are none, and one whose caller the copy has, which is none.
        let begins = walk as *const () as usize + 1;
        for (pc, expected) in [(0, &[0][..]), (1, &[1]), (begins, &[begins, 7])] {
            let mut addresses = [0; 4];
            let found = walk(pc, copy, &mut addresses);
            assert_eq!(&addresses[..found.len], expected);
            assert!(found.is_cut);
        }
    }
}
