"""What carries messages to clients.

choice       the engines by name
app          the ServerApp
launch       an experiment becomes a run
submission   a run on a SuperLink
link         `privet link`: a SuperLink of one's own
ports        which calls come in at which of its ports
installed    its runs, by the ServerApp that is installed here
"""
