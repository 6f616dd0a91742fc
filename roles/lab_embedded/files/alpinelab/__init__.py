"""Alpine hosts on one switch behind a NAT, in namespaces of one Linux machine, reached by real SSH.

system.py   tools of this machine, locks, errors
image.py    the base image: Alpine tree and signed package repository, built once (qcow2.py, packages.py)
config.py   what a lab is (nodes, addresses, folder) and every text file made from it
lab.py      controller side: up, down, status, connect
holder.py   inside: the process that is the switch and starts the hosts (host-init.sh)

Python standard library only.
"""
