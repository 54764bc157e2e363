"""What stands between strangers and the workers: each file bounds one thing that they could use up.

refusal      no, and when to come again
door         connections, and the time that each may take
accounts     who asks, and how much
intake       bytes that are under way
stores       files that clients fill
tarpit       refusals, and how fast they come
reception    the identity of each request, and its refusal when it is time
application  the handlers of a service, while its workers live
turns        workers, one identity after another
"""
