"""The xDS transport protocol without input and output: requests and tables in, responses and events out.

One `Stream` object serves one stream. Whoever owns the connection

- gives it requests (`receive`), the tables to serve (`offer`), and word that they have changed (`changed`);
- takes responses (`next_response`), one at a time, each made of the newest state at that moment;
- takes events (`events`): what was subscribed to, acknowledged, refused.

Time is an argument: seconds of any monotonic clock.
"""
