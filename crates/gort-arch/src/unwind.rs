//! Walking a stack of which only a copy is known: that of a thread that sleeps in the kernel, or of a context
//! that may be resumed at any moment.
//!
//! Of such a thread the kernel tells two registers, stack pointer and program counter; and of such a context the
//! copy may be torn. So the unwinder cannot be used: it follows whatever the registers say. This one reads the
//! same tables (`.eh_frame`; DWARF 5, section 6.4, as the x86-64 ABI has them), knows of each register whether it
//! is known, and reads the stack from the copy alone: it cannot fault, whatever it finds.
//!
//! Most frames are found by the stack pointer. Where one needs a frame pointer that nobody has saved yet
//! (std is built with them), the frame's end is looked for: the first place above that holds a return
//! address behind a call of this very function (`Call::Certain`), or, if there is none, behind a call whose
//! target cannot be told from the code.
//!
//! Not understood, so that a walk ends there: rules that are expressions (frames of signal handlers have
//! them), and the 64-bit form of the tables.
//!
//! Takes no lock and does not allocate (glibc 2.35 and later). Checked by `tests/trace.rs`.

use std::ffi::c_void;
use std::ptr;

use crate::trace::Walk;

/// What libgcc says of the object that a function is in.
#[repr(C)]
struct Bases {
    text: *const c_void,
    data: *const c_void,
    function: *const c_void,
}

unsafe extern "C" {
    /// The entry of the tables for `pc`; null if there is none.
    fn _Unwind_Find_FDE(pc: *const c_void, bases: *mut Bases) -> *const u8;
}

/// Registers by their DWARF numbers.
const RBP: usize = 6;
const RSP: usize = 7;
const RETURN_ADDRESS: usize = 16;
const REGISTERS: usize = 17;

/// A copy of the lowest part of a stack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy<'a> {
    /// Where its first word was.
    pub(crate) sp: usize,
    pub(crate) words: &'a [usize],
}

impl Copy<'_> {
    fn word(&self, address: usize) -> Option<usize> {
        let offset = address.checked_sub(self.sp)?;
        if !offset.is_multiple_of(size_of::<usize>()) {
            return None;
        }
        self.words.get(offset / size_of::<usize>()).copied()
    }

    fn end(&self) -> usize {
        self.sp + size_of_val(self.words)
    }
}

/// Walks the copy from a thread's program counter on.
pub(crate) fn walk(pc: usize, copy: Copy<'_>, addresses: &mut [usize]) -> Walk {
    let mut frame = Frame {
        pc,
        registers: [None; REGISTERS],
    };
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
    let mut frame = Frame {
        pc,
        registers: [None; REGISTERS],
    };
    for (register, value) in R15_TO_RBP.into_iter().zip([r15, r14, r13, r12, rbx, rbp]) {
        frame.registers[register] = Some(value);
    }
    frame.registers[RSP] = Some(copy.sp + 7 * size_of::<usize>());
    frame.walk(copy, addresses)
}

/// What is known of a frame at a call.
struct Frame {
    /// Behind the call.
    pc: usize,
    registers: [Option<usize>; REGISTERS],
}

enum Step {
    /// The frame is the caller's now.
    Caller,
    Outermost,
    /// It cannot be said who the caller is, or it is not in the copy.
    Unknown,
}

impl Frame {
    /// Writes where it is, and where all its callers are that are found.
    fn walk(mut self, copy: Copy<'_>, addresses: &mut [usize]) -> Walk {
        let mut walk = Walk {
            len: 0,
            is_cut: false,
        };
        loop {
            let Some(place) = addresses.get_mut(walk.len) else {
                walk.is_cut = true;
                return walk;
            };
            *place = self.pc;
            walk.len += 1;
            match self.step_out(copy) {
                Step::Caller => {}
                Step::Outermost => return walk,
                Step::Unknown => {
                    walk.is_cut = true;
                    return walk;
                }
            }
        }
    }

    /// Becomes the caller's frame, if it has one and all goes well.
    fn step_out(&mut self, copy: Copy<'_>) -> Step {
        // The byte before a return address belongs to the call, and maybe alone to its function.
        let Some(function) = Function::at(self.pc.wrapping_sub(1)) else {
            return Step::Unknown;
        };
        let Some(row) = function.row() else {
            return Step::Unknown;
        };
        let Some(cfa) = self.canonical_frame_address(&function, &row, copy) else {
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
                Rule::SavedAt(offset) => *register = copy.word(cfa.wrapping_add_signed(offset)),
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

    /// The stack pointer of the caller at the call. A frame pointer that is found on the way is kept.
    fn canonical_frame_address(
        &mut self,
        function: &Function,
        row: &Row,
        copy: Copy<'_>,
    ) -> Option<usize> {
        let (register, offset) = row.cfa?;
        let sp = self.registers[RSP]?;
        let cfa = match self.registers[register] {
            Some(value) => value.wrapping_add_signed(offset),
            None if register == RBP => {
                let cfa = find_end(function, sp, copy)?;
                self.registers[RBP] = Some(cfa.wrapping_add_signed(-offset));
                cfa
            }
            None => return None,
        };
        // Stacks grow down: no frame is empty.
        (cfa > sp && cfa <= copy.end()).then_some(cfa)
    }
}

/// Looks for the end of `function`'s frame, which begins at `sp`.
fn find_end(function: &Function, sp: usize, copy: Copy<'_>) -> Option<usize> {
    /// At a call the stack pointer is a multiple of this.
    const ALIGNMENT: usize = 16;
    let ends = (sp / ALIGNMENT + 1..=copy.end() / ALIGNMENT).map(|end| end * ALIGNMENT);
    let mut first_possible = None;
    for end in ends {
        let Some(return_address) = copy.word(end - size_of::<usize>()) else {
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

// ---- the tables ----

/// A function with its entry in the tables, at an address in it.
struct Function {
    start: usize,
    address: usize,
    entry: *const u8,
}

/// How the caller's value of a register is found.
#[derive(Clone, Copy)]
enum Rule {
    Same,
    Lost,
    /// On the stack, so far from the frame's address.
    SavedAt(isize),
    /// The frame's address and this.
    Is(isize),
    In(usize),
}

/// The rules that hold at one address.
#[derive(Clone, Copy)]
struct Row {
    /// The frame's address: a register and what is added to it; `None` for an expression.
    cfa: Option<(usize, isize)>,
    rules: [Rule; REGISTERS],
}

/// What all functions of a compilation have in common.
struct Common {
    code_factor: usize,
    data_factor: isize,
    /// How addresses are written in the entries.
    encoding: u8,
    has_augmentation: bool,
    instructions: Bytes,
}

impl Function {
    fn at(address: usize) -> Option<Function> {
        let mut bases = Bases {
            text: ptr::null(),
            data: ptr::null(),
            function: ptr::null(),
        };
        // SAFETY: any address can be looked up; `bases` has room for the answer.
        let entry = unsafe { _Unwind_Find_FDE(address as *const c_void, &raw mut bases) };
        let start = bases.function as usize;
        (!entry.is_null() && start <= address).then_some(Function {
            start,
            address,
            entry,
        })
    }

    /// The rules at its address.
    fn row(&self) -> Option<Row> {
        // SAFETY: the tables' entry, as libgcc has found it.
        let mut entry = unsafe { Bytes::of_entry(self.entry) }?;
        let at_common = entry.at;
        let common = at_common.wrapping_sub(entry.u32()? as usize);
        // SAFETY: the entry says where its common part begins.
        let common = Common::read(unsafe { Bytes::of_entry(common) }?)?;
        // Where the function begins, which is known, and its length.
        entry.skip_encoded(common.encoding)?;
        entry.skip_encoded(common.encoding & 0x0f)?;
        if common.has_augmentation {
            let len = entry.uleb()?;
            entry.take(len)?;
        }
        let blank = Row {
            cfa: None,
            rules: [Rule::Same; REGISTERS],
        };
        let mut rows = Rows {
            common: &common,
            initial: blank,
            row: blank,
            location: self.start,
            until: self.address,
            remembered: [blank; Rows::DEPTH],
            depth: 0,
        };
        rows.run(common.instructions)?;
        rows.initial = rows.row;
        rows.run(entry)?;
        Some(rows.row)
    }
}

impl Common {
    fn read(mut bytes: Bytes) -> Option<Common> {
        // Its id is 0 where an entry has the way to it.
        if bytes.u32()? != 0 {
            return None;
        }
        let version = bytes.u8()?;
        let augmentation = bytes.text()?;
        let code_factor = bytes.uleb()?;
        let data_factor = bytes.sleb()?;
        let return_address = if version == 1 {
            usize::from(bytes.u8()?)
        } else {
            bytes.uleb()?
        };
        if return_address != RETURN_ADDRESS {
            return None;
        }
        let mut encoding = 0;
        let has_augmentation = augmentation.first() == Some(&b'z');
        if has_augmentation {
            let len = bytes.uleb()?;
            let mut data = bytes.take(len)?;
            for letter in &augmentation[1..] {
                match letter {
                    b'R' => encoding = data.u8()?,
                    b'L' => drop(data.u8()?),
                    b'P' => {
                        let encoding = data.u8()?;
                        data.skip_encoded(encoding)?;
                    }
                    b'S' => {}
                    _ => return None,
                }
            }
        } else if !augmentation.is_empty() {
            return None;
        }
        Some(Common {
            code_factor,
            data_factor,
            encoding,
            has_augmentation,
            instructions: bytes,
        })
    }
}

/// Instructions at work, which make the rows from a function's start on.
struct Rows<'a> {
    common: &'a Common,
    /// What the common part has made, to which registers are restored.
    initial: Row,
    row: Row,
    location: usize,
    until: usize,
    remembered: [Row; Rows::DEPTH],
    depth: usize,
}

impl Rows<'_> {
    /// Rows that can be remembered at once; compilers need one.
    const DEPTH: usize = 4;

    /// Runs instructions until they are about a later place. `None`: they are not understood.
    fn run(&mut self, mut bytes: Bytes) -> Option<()> {
        while let Some(opcode) = bytes.u8() {
            let operand = usize::from(opcode & 0x3f);
            match opcode {
                // advance_loc, offset, restore
                0x40..=0x7f => self.location += operand * self.common.code_factor,
                0x80..=0xbf => {
                    let offset = self.factored(bytes.uleb()? as isize);
                    self.set(operand, Rule::SavedAt(offset))?;
                }
                0xc0..=0xff => self.restore(operand)?,
                // nop
                0x00 => {}
                // set_loc is not used where code can be moved.
                // advance_loc1, 2, 4
                0x02 => self.location += usize::from(bytes.u8()?) * self.common.code_factor,
                0x03 => self.location += usize::from(bytes.u16()?) * self.common.code_factor,
                0x04 => self.location += bytes.u32()? as usize * self.common.code_factor,
                // offset_extended, restore_extended, undefined, same_value, register
                0x05 => {
                    let (register, offset) = (bytes.uleb()?, bytes.uleb()?);
                    let offset = self.factored(offset as isize);
                    self.set(register, Rule::SavedAt(offset))?;
                }
                0x06 => self.restore(bytes.uleb()?)?,
                0x07 => self.set(bytes.uleb()?, Rule::Lost)?,
                0x08 => self.set(bytes.uleb()?, Rule::Same)?,
                0x09 => {
                    let (register, other) = (bytes.uleb()?, bytes.uleb()?);
                    let is_known = other < REGISTERS;
                    self.set(
                        register,
                        if is_known {
                            Rule::In(other)
                        } else {
                            Rule::Lost
                        },
                    )?;
                }
                // remember_state, restore_state
                0x0a => {
                    *self.remembered.get_mut(self.depth)? = self.row;
                    self.depth += 1;
                }
                0x0b => {
                    self.depth = self.depth.checked_sub(1)?;
                    self.row = self.remembered[self.depth];
                }
                // def_cfa, def_cfa_register, def_cfa_offset, def_cfa_expression
                0x0c => {
                    let (register, offset) = (bytes.uleb()?, bytes.uleb()?);
                    self.set_cfa(register, offset as isize)?;
                }
                0x0d => self.set_cfa(bytes.uleb()?, self.row.cfa?.1)?,
                0x0e => self.set_cfa(self.row.cfa?.0, bytes.uleb()? as isize)?,
                0x0f => {
                    let len = bytes.uleb()?;
                    bytes.take(len)?;
                    self.row.cfa = None;
                }
                // expression, val_expression
                0x10 | 0x16 => {
                    let (register, len) = (bytes.uleb()?, bytes.uleb()?);
                    bytes.take(len)?;
                    self.set(register, Rule::Lost)?;
                }
                // offset_extended_sf, def_cfa_sf, def_cfa_offset_sf
                0x11 => {
                    let (register, offset) = (bytes.uleb()?, bytes.sleb()?);
                    let offset = self.factored(offset);
                    self.set(register, Rule::SavedAt(offset))?;
                }
                0x12 => {
                    let (register, offset) = (bytes.uleb()?, bytes.sleb()?);
                    let offset = self.factored(offset);
                    self.set_cfa(register, offset)?;
                }
                0x13 => {
                    let offset = bytes.sleb()?;
                    let offset = self.factored(offset);
                    self.set_cfa(self.row.cfa?.0, offset)?;
                }
                // val_offset, val_offset_sf
                0x14 => {
                    let (register, offset) = (bytes.uleb()?, bytes.uleb()?);
                    let offset = self.factored(offset as isize);
                    self.set(register, Rule::Is(offset))?;
                }
                0x15 => {
                    let (register, offset) = (bytes.uleb()?, bytes.sleb()?);
                    let offset = self.factored(offset);
                    self.set(register, Rule::Is(offset))?;
                }
                // GNU_args_size, for exceptions only
                0x2e => drop(bytes.uleb()?),
                _ => return None,
            }
            if self.location > self.until {
                // Of what follows nothing holds yet. The advance changed no rule.
                return Some(());
            }
        }
        Some(())
    }

    fn factored(&self, offset: isize) -> isize {
        offset.wrapping_mul(self.common.data_factor)
    }

    fn set(&mut self, register: usize, rule: Rule) -> Option<()> {
        // Others are those of floating point and vectors, which are nobody's across calls.
        if let Some(place) = self.row.rules.get_mut(register) {
            *place = rule;
        }
        Some(())
    }

    fn restore(&mut self, register: usize) -> Option<()> {
        let rule = self.initial.rules.get(register).copied();
        self.set(register, rule.unwrap_or(Rule::Same))
    }

    fn set_cfa(&mut self, register: usize, offset: isize) -> Option<()> {
        if register >= REGISTERS {
            return None;
        }
        self.row.cfa = Some((register, offset));
        Some(())
    }
}

/// Bytes of the tables, taken from the front.
#[derive(Clone, Copy)]
struct Bytes {
    at: *const u8,
    len: usize,
}

impl Bytes {
    /// What follows the length at an entry's start.
    ///
    /// # Safety
    ///
    /// An entry of the tables begins at `at`, whose object stays mapped.
    unsafe fn of_entry(at: *const u8) -> Option<Bytes> {
        let mut bytes = Bytes { at, len: 4 };
        let len = bytes.u32()?;
        // 0xffff_ffff announces the 64-bit form; 0 ends the tables.
        (len != 0 && len != u32::MAX).then_some(Bytes {
            at: bytes.at,
            len: len as usize,
        })
    }

    fn take(&mut self, len: usize) -> Option<Bytes> {
        let rest = self.len.checked_sub(len)?;
        let taken = Bytes { at: self.at, len };
        self.at = self.at.wrapping_add(len);
        self.len = rest;
        Some(taken)
    }

    fn number<T>(&mut self) -> Option<T> {
        let taken = self.take(size_of::<T>())?;
        // SAFETY: within the entry (`take`), which is mapped; used for integers only.
        Some(unsafe { ptr::read_unaligned(taken.at.cast()) })
    }

    fn u8(&mut self) -> Option<u8> {
        self.number()
    }

    fn u16(&mut self) -> Option<u16> {
        self.number()
    }

    fn u32(&mut self) -> Option<u32> {
        self.number()
    }

    fn leb(&mut self) -> Option<(u64, u32, u8)> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.u8()?;
            if shift < u64::BITS {
                value |= u64::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                return Some((value, shift, byte));
            }
        }
    }

    fn uleb(&mut self) -> Option<usize> {
        self.leb().map(|(value, ..)| value as usize)
    }

    fn sleb(&mut self) -> Option<isize> {
        let (value, shift, last) = self.leb()?;
        let is_negative = last & 0x40 != 0 && shift < u64::BITS;
        let sign = if is_negative { u64::MAX << shift } else { 0 };
        Some((value | sign) as isize)
    }

    /// Bytes up to a zero.
    fn text(&mut self) -> Option<&'static [u8]> {
        let at = self.at;
        while self.u8()? != 0 {}
        let len = self.at as usize - at as usize - 1;
        // SAFETY: `len` bytes of the entry, which nobody writes.
        Some(unsafe { std::slice::from_raw_parts(at, len) })
    }

    /// Passes over an address (`DW_EH_PE_…`).
    fn skip_encoded(&mut self, encoding: u8) -> Option<()> {
        // 0x50: aligned, which nothing here is.
        if encoding & 0x70 == 0x50 {
            return None;
        }
        match encoding & 0x0f {
            0x00 | 0x04 | 0x0c => drop(self.take(8)?),
            0x01 | 0x09 => drop(self.leb()?),
            0x02 | 0x0a => drop(self.take(2)?),
            0x03 | 0x0b => drop(self.take(4)?),
            _ => return None,
        }
        Some(())
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

    #[test]
    fn nothing_outside_the_copy_is_read() {
        let copy = Copy {
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
