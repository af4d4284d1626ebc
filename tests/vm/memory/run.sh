# A space with 400 MB: see check.py. Runs in the test VM, where memory is a controller of cgroup v2.
group=/sys/fs/cgroup/space
mkdir $group
echo 400M >$group/memory.max
echo 0 >$group/memory.swap.max
ln -s /venv /home/alice/ready-made
mkdir -p /out
exec /venv/bin/python check.py $group
