"""Measures osproxy beside its peers.

worlds: the hosts; peers: the proxies; rows: what is measured; processor: time and memory of processes; rounds: measures each
row for each peer in turn; report: prints the tables; untouched and soak: measurements of osproxy alone; command: the options.
"""
