# Shows that the VM is a Linux, and that an exit code and a file come back.
uname -a
uname -r >/out/kernel
exit 7
