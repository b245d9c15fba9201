#!/usr/bin/env python3
"""Compiles CUDA source for an architecture with NVRTC and ptxas, which cuda.sh fetched, and prints what ptxas says:
registers, stack and spills of each kernel. No GPU is needed.

    nvrtc.py DIRECTORY kernels.cu 80 [OPTION]...
"""

import ctypes
import os
import subprocess
import sys
import tempfile

directory, source, architecture, *options = sys.argv[1:]
# NVRTC opens its built-in functions by their bare name.
ctypes.CDLL(os.path.join(directory, "libnvrtc-builtins.so.12.9"), mode=ctypes.RTLD_GLOBAL)
nvrtc = ctypes.CDLL(os.path.join(directory, "libnvrtc.so.12"))
program = ctypes.c_void_p()
with open(source, "rb") as file:
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), file.read(), os.path.basename(source).encode(), 0, None, None)
options = [f"--gpu-architecture=compute_{architecture}", *options]
arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
failed = nvrtc.nvrtcCompileProgram(program, len(options), arguments)


def text(size_of, get):
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    get(program, buffer)
    return buffer.value


log = text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).decode()
if failed:
    sys.exit(f"nvrtc: {log}")
with tempfile.NamedTemporaryFile(suffix=".ptx") as ptx:
    ptx.write(text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX))
    ptx.flush()
    assembler = [os.path.join(directory, "ptxas"), "-v", f"-arch=sm_{architecture}", ptx.name, "-o", os.devnull]
    sys.exit(subprocess.run(assembler, stderr=subprocess.STDOUT).returncode)
