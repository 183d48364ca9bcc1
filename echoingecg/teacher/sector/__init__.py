"""Where the transducer drew: the sector of a clip, found from its frames, without what the scanner printed."""
