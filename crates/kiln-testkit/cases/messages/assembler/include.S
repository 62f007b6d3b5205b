	.include "nowhere.inc"
