"""What this machine has, and what to do about what is missing: `workbook doctor`.

`machine` knows how to look, `gpus` and `examination` what to say; `questions` are put to processes of their own, since
a driver that is not well may hang or end the one that opens it.
"""
