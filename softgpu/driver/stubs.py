"""The driver functions that softgpu does not have: each names itself in the log and answers "not supported".

There are hundreds, and Mojo takes a fifth of a second for each, so that their object file is written here: x86-64 ELF,
as the linker takes it. Source: System V ABI, AMD64 supplement, chapter 4.
"""

import struct

REFUSE = "softgpu_not_supported"
"""What every stub calls, with the address of its own name: it is in cuda/modules.mojo."""

LOAD_ADDRESS = b"\x48\x8d\x3d"  # lea rdi, [rip + distance]: the first argument
JUMP = b"\xe9"  # jmp distance
STUB_BYTES = len(LOAD_ADDRESS) + len(JUMP) + 2 * 4

SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
GLOBAL_FUNCTION, UNDEFINED_GLOBAL = 0x12, 0x10
PROGBITS, SYMTAB, STRTAB, RELA = 1, 2, 3, 4
ALLOCATED_EXECUTABLE = 6
R_X86_64_PLT32 = 4


def object_file(names: list[str]) -> bytes:
    """An object file that defines a function for each name."""
    texts, position = {}, len(JUMP) + 4 + STUB_BYTES * len(names)
    for name in names:
        texts[name] = position
        position += len(name) + 1
    code = bytearray(JUMP + bytes(4))  # the one jump to REFUSE, which the linker completes
    strings, symbols = bytearray(b"\0"), bytearray(SYMBOL.size)

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    symbols += SYMBOL.pack(string(REFUSE), UNDEFINED_GLOBAL, 0, 0, 0, 0)
    for name in names:
        symbols += SYMBOL.pack(string(name), GLOBAL_FUNCTION, 0, 1, len(code), STUB_BYTES)
        # A distance counts from the end of the instruction.
        code += LOAD_ADDRESS + struct.pack("<i", texts[name] - len(code) - len(LOAD_ADDRESS) - 4)
        code += JUMP + struct.pack("<i", -len(code) - len(JUMP) - 4)
    code += "".join(name + "\0" for name in names).encode()
    relocation = struct.pack("<QQq", len(JUMP), 1 << 32 | R_X86_64_PLT32, -4)

    # (name, type, flags, content, linked section, information, alignment, entry size)
    sections = [
        (string(".text"), PROGBITS, ALLOCATED_EXECUTABLE, bytes(code), 0, 0, 16, 0),
        (string(".rela.text"), RELA, 0, relocation, 3, 1, 8, len(relocation)),
        (string(".symtab"), SYMTAB, 0, bytes(symbols), 4, 1, 8, SYMBOL.size),
        (string(".strtab"), STRTAB, 0, bytes(strings), 0, 0, 1, 0),
    ]
    offset, body, headers = 64, bytearray(), bytearray(SECTION_HEADER.size)
    for label, kind, flags, content, link, information, alignment, entry in sections:
        body += bytes(-len(body) % 16)
        place = offset + len(body)
        headers += SECTION_HEADER.pack(label, kind, flags, 0, place, len(content), link, information, alignment, entry)
        body += content
    body += bytes(-len(body) % 16)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    relocatable, x86_64 = 1, 62
    header = struct.pack(
        "<HHIQQQIHHHHHH", relocatable, x86_64, 1, 0, 0, offset + len(body), 0, 64, 0, 0, 64, len(sections) + 1, 4
    )
    return identity + header + bytes(body) + bytes(headers)
