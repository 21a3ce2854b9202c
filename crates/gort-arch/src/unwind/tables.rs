//! The unwind tables: the rules that hold at an address.

use std::ffi::c_void;
use std::ptr;

use super::{REGISTERS, RETURN_ADDRESS};

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

/// A function with its entry in the tables, at an address in it.
pub(super) struct Function {
    pub(super) start: usize,
    address: usize,
    entry: *const u8,
}

/// How the caller's value of a register is found.
#[derive(Clone, Copy)]
pub(super) enum Rule {
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
pub(super) struct Row {
    pub(super) cfa: Option<Cfa>,
    pub(super) rules: [Rule; REGISTERS],
    /// Whether a signal handler returns here.
    pub(super) is_signals: bool,
}

/// How a frame's address is found.
#[derive(Clone, Copy)]
pub(super) enum Cfa {
    /// A register, and what is added to it.
    Register(usize, isize),
    Expression(Bytes),
}

/// What all functions of a compilation have in common.
struct Common {
    code_factor: usize,
    data_factor: isize,
    /// How addresses are written in the entries.
    encoding: u8,
    has_augmentation: bool,
    is_signals: bool,
    instructions: Bytes,
}

impl Function {
    pub(super) fn at(address: usize) -> Option<Function> {
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
    pub(super) fn row(&self) -> Option<Row> {
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
            is_signals: common.is_signals,
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
        let (mut encoding, mut is_signals) = (0, false);
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
                    b'S' => is_signals = true,
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
            is_signals,
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
                0x0d => self.set_cfa(bytes.uleb()?, self.cfa()?.1)?,
                0x0e => self.set_cfa(self.cfa()?.0, bytes.uleb()? as isize)?,
                0x0f => {
                    let len = bytes.uleb()?;
                    self.row.cfa = Some(Cfa::Expression(bytes.take(len)?));
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
                    self.set_cfa(self.cfa()?.0, offset)?;
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
        self.row.cfa = Some(Cfa::Register(register, offset));
        Some(())
    }

    /// The register and the offset that are about to be changed.
    fn cfa(&self) -> Option<(usize, isize)> {
        match self.row.cfa? {
            Cfa::Register(register, offset) => Some((register, offset)),
            Cfa::Expression(_) => None,
        }
    }
}

/// Bytes of the tables, taken from the front.
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    pub(super) at: *const u8,
    pub(super) len: usize,
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

    pub(super) fn u8(&mut self) -> Option<u8> {
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

    pub(super) fn uleb(&mut self) -> Option<usize> {
        self.leb().map(|(value, ..)| value as usize)
    }

    pub(super) fn sleb(&mut self) -> Option<isize> {
        let (value, shift, last) = self.leb()?;
        let is_negative = last & 0x40 != 0 && shift < u64::BITS;
        let sign = if is_negative { u64::MAX << shift } else { 0 };
        Some((value | sign) as isize)
    }

    /// Bytes up to a zero.
    pub(super) fn text(&mut self) -> Option<&'static [u8]> {
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
