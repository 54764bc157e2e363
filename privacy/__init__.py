"""Ground floor: the promises and the mathematics of protection.

Nothing here knows what a client, a server or an attack is. This is the one door to Opacus
(and, as their rooms are built, to TenSEAL and Concrete).
"""
