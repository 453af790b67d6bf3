"""The machine around the experiment: command line, errors, files, run folders, device."""
