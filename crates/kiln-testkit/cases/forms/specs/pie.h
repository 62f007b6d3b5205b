int pie;
