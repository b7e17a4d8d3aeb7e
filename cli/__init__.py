"""The `doorbuster` command: reads settings, wires adapters to ports, starts and stops servers."""
